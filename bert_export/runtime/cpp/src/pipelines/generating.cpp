#include "pipelines/generating.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

#include "text/printing.hpp"

namespace bert_export::pipelines {
namespace {

constexpr std::size_t most_rows = 1024;

// An option that must be a whole number of rows.
std::size_t check_rows(const char* option, std::size_t asked) {
  if (asked >= 1 && asked <= most_rows) return asked;
  throw InputError(std::string(option) + " is wrong",
                   {"a whole number from 1 to " + std::to_string(most_rows),
                    std::to_string(asked)});
}

// Refuses options that are out of range or do not go together.
void check_decoding(const decoding::Decoding& chosen) {
  if (chosen.repetition_penalty <= 0) {
    throw InputError("repetition_penalty is out of range",
                     {"a number above 0, where 1 changes nothing",
                      text::shown(chosen.repetition_penalty)});
  }
  if (chosen.sampling && chosen.num_beams > 1) {
    throw InputError("do_sample and num_beams do not go together",
                     {"num_beams of 1 where tokens are drawn", std::to_string(chosen.num_beams)});
  }
  if (!chosen.sampling && chosen.num_return_sequences > chosen.num_beams) {
    throw InputError("num_return_sequences is larger than what there is to return",
                     {"at most num_beams, " + std::to_string(chosen.num_beams) +
                          ", where tokens are not drawn",
                      std::to_string(chosen.num_return_sequences),
                      "Raise num_beams, or use do_sample"});
  }
}

sessions::Feed to_feed(const std::vector<Ids>& rows) {
  sessions::Feed feed{{static_cast<std::int64_t>(rows.size()),
                       static_cast<std::int64_t>(rows.front().size())},
                      {}};
  for (const Ids& row : rows) feed.numbers.insert(feed.numbers.end(), row.begin(), row.end());
  return feed;
}

// Columns at the beginning in which no row has a token.
std::size_t shared_padding(const std::vector<Ids>& mask) {
  std::size_t first = mask.front().size();
  for (const Ids& row : mask) {
    const auto begun = std::find(row.begin(), row.end(), 1);
    first = std::min(first, static_cast<std::size_t>(begun - row.begin()));
  }
  return first;
}

}  // namespace

GenerationParameters read_parameters(const Parameters& own, std::size_t num_beams) {
  GenerationParameters read{own.flag("do_sample", false), {}};
  decoding::Decoding& chosen = read.decoding;
  chosen.sampling = {own.number("temperature", 1.0), own.size("top_k", 50, 0),
                     own.number("top_p", 1.0), std::nullopt};
  chosen.num_beams = own.size("num_beams", num_beams, 1);
  chosen.length_penalty = own.number("length_penalty", 1.0);
  chosen.early_stopping = own.early_stopping("early_stopping");
  chosen.repetition_penalty = own.number("repetition_penalty", 1.0);
  chosen.no_repeat_ngram_size = own.size("no_repeat_ngram_size", 0, 0);
  chosen.min_new_tokens = own.size("min_new_tokens", 0, 0);
  chosen.num_return_sequences = own.size("num_return_sequences", 1, 1);
  return read;
}

decoding::Decoding read_decoding(const GenerationOptions& options, const GenerationParameters& own,
                                 Ids ends) {
  decoding::Decoding chosen = own.decoding;
  decoding::Sampling& drawn = *chosen.sampling;
  drawn.temperature =
      check_number("temperature", options.temperature.value_or(drawn.temperature));
  drawn.top_k = options.top_k.value_or(drawn.top_k);
  drawn.top_p = check_number("top_p", options.top_p.value_or(drawn.top_p));
  drawn.seed = options.seed;
  if (drawn.temperature <= 0) {
    throw InputError("temperature is out of range",
                     {"a number above 0", text::shown(drawn.temperature),
                      "Use do_sample=False for the likeliest token"});
  }
  if (drawn.top_p < 0 || drawn.top_p > 1) {
    throw InputError("top_p is out of range", {"0 to 1", text::shown(drawn.top_p)});
  }
  chosen.ends = std::move(ends);
  chosen.min_new_tokens = options.min_new_tokens.value_or(chosen.min_new_tokens);
  chosen.repetition_penalty = check_number(
      "repetition_penalty", options.repetition_penalty.value_or(chosen.repetition_penalty));
  chosen.no_repeat_ngram_size =
      options.no_repeat_ngram_size.value_or(chosen.no_repeat_ngram_size);
  if (!options.do_sample.value_or(own.do_sample)) chosen.sampling.reset();
  chosen.num_beams = check_rows("num_beams", options.num_beams.value_or(chosen.num_beams));
  chosen.length_penalty =
      check_number("length_penalty", options.length_penalty.value_or(chosen.length_penalty));
  chosen.early_stopping = options.early_stopping.value_or(chosen.early_stopping);
  chosen.num_return_sequences =
      check_rows("num_return_sequences",
                 options.num_return_sequences.value_or(chosen.num_return_sequences));
  check_decoding(chosen);
  return chosen;
}

Ids read_ends(const Ids& asked, std::int64_t vocabulary) {
  for (const std::int64_t id : asked) {
    if (id >= 0 && id < vocabulary) continue;
    throw InputError("eos_token_id is wrong",
                     {"ids from 0 to " + std::to_string(vocabulary - 1), std::to_string(id)});
  }
  return asked;
}

std::vector<std::vector<Ids>> Growth::answers() const {
  std::vector<std::vector<Ids>> all;
  for (const Continuations& continuations : of_prompts) {
    all.emplace_back();
    for (const auto& each : continuations) {
      for (Ids& answer : each->answers()) all.back().push_back(std::move(answer));
    }
  }
  return all;
}

void grow(const Open& session, sessions::Cache& cache, Growth& growth,
          const std::function<bool()>& stepped) {
  // What grows: its first row among those that run, and how many are its own. The first call runs
  // the prompts; its scores begin every continuation.
  struct Growing {
    decoding::Continuation* continuation;
    std::size_t start;
    std::size_t rows;
  };
  std::vector<Growing> growing;
  for (std::size_t prompt = 0; prompt < growth.of_prompts.size(); ++prompt) {
    for (const auto& each : growth.of_prompts[prompt]) growing.push_back({each.get(), prompt, 1});
  }
  std::vector<Ids> ids = growth.ids;
  std::vector<Ids> mask = growth.mask;
  for (;;) {
    const sessions::Output& scores =
        cache.step(*session(), to_feed(ids), to_feed(mask));  // (B, V)
    const std::size_t vocabulary = scores.numbers.size() / mask.size();
    for (const Growing& each : growing) {
      each.continuation->advance(
          {scores.numbers.data() + each.start * vocabulary, each.rows, vocabulary});
    }
    if (!stepped()) return;
    std::vector<Growing> going;
    std::vector<std::size_t> parents;
    ids.clear();
    for (const Growing& each : growing) {
      if (each.continuation->done()) continue;
      const Ids& tokens = each.continuation->tokens();
      going.push_back({each.continuation, parents.size(), tokens.size()});
      for (const std::size_t parent : each.continuation->parents()) {
        parents.push_back(each.start + (each.rows == 1 ? 0 : parent));
      }
      for (const std::int64_t token : tokens) ids.push_back({token});
    }
    if (going.empty()) return;
    growing = std::move(going);
    // Rows that ended leave, and with them the padding that they alone needed.
    std::vector<std::size_t> unchanged(mask.size());
    std::iota(unchanged.begin(), unchanged.end(), std::size_t{0});
    if (parents != unchanged) {
      std::vector<Ids> kept;
      for (const std::size_t parent : parents) kept.push_back(mask[parent]);
      const auto first = static_cast<std::ptrdiff_t>(shared_padding(kept));
      cache.select(parents, static_cast<std::size_t>(first));
      for (Ids& row : kept) row.erase(row.begin(), row.begin() + first);
      mask = std::move(kept);
    }
    for (Ids& row : mask) row.push_back(1);
  }
}

std::vector<std::vector<Ids>> complete_rows(
    const OpenedBundle& bundle, const std::vector<const Row*>& rows,
    const std::vector<std::size_t>& lengths, std::optional<std::size_t> batch_size,
    const OpenedBundle::Cost& cost,
    const std::function<std::vector<std::vector<Ids>>(const std::vector<const Row*>&)>& answer) {
  std::vector<std::vector<Ids>> answers(rows.size());
  bundle.in_batches(
      lengths, batch_size,
      [&](const std::vector<std::size_t>& batch) {
        std::vector<const Row*> own;
        for (const std::size_t index : batch) own.push_back(rows[index]);
        std::vector<std::vector<Ids>> found = answer(own);
        for (std::size_t place = 0; place < batch.size(); ++place) {
          answers[batch[place]] = std::move(found[place]);
        }
      },
      cost);
  return answers;
}

void check_streamed(bool given, const char* option) {
  if (!given) return;
  throw InputError("option " + std::string(option) + " means nothing to stream",
                   {"an option of generation, such as max_new_tokens", option});
}

void check_streams_one(const decoding::Decoding& chosen) {
  if (chosen.rows() == 1) return;
  throw InputError("stream gives one text",
                   {"num_beams and num_return_sequences of 1",
                    std::to_string(chosen.num_beams) + " and " +
                        std::to_string(chosen.num_return_sequences)});
}

void stream_text(const Open& session, sessions::Cache& cache, Growth& growth, const Ids& prompt,
                 const std::string& begun, const std::function<std::string(const Ids&)>& decode,
                 const ReceivePiece& receive) {
  const decoding::Continuation& growing = *growth.of_prompts.front().front();
  std::size_t given = 0;
  grow(session, cache, growth, [&] {
    Ids ids = prompt;
    const Ids fresh = growing.answers().front();
    ids.insert(ids.end(), fresh.begin(), fresh.end());
    const std::string added =
        decoding::added_text(begun, decoding::settled_text(decode, ids, growing.done()));
    if (added.size() <= given) return true;
    const bool wanted = receive(std::string_view(added).substr(given));
    given = added.size();
    return wanted;
  });
}

}  // namespace bert_export::pipelines
