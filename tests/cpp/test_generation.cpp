#include <cmath>
#include <limits>

#include "bert_export/errors.hpp"
#include "check.hpp"
#include "decoding/generation.hpp"
#include "pipelines/generating.hpp"
#include "sessions/cache.hpp"
#include "sessions/encoder_decoder.hpp"

namespace decoding = bert_export::decoding;
namespace sessions = bert_export::sessions;
using bert_export::EarlyStopping;
using bert_export::bundle::GraphRecord;
using bert_export::bundle::TensorSpec;
using decoding::Ids;
using sessions::Feed;
using sessions::Feeds;
using sessions::Outputs;

namespace {

constexpr std::int64_t vocabulary = 11;
constexpr std::int64_t end_id = 1;
constexpr float blocked = -std::numeric_limits<float>::infinity();

// Logits that depend on all tokens of a row, and on what is held for it.
std::vector<float> score(const Ids& row, float held) {
  std::uint32_t state = 17 + static_cast<std::uint32_t>(held);
  for (const std::int64_t token : row) {
    state = (state ^ static_cast<std::uint32_t>(token + 1)) * 2654435761U;
  }
  std::vector<float> logits;
  for (std::int64_t token = 0; token < vocabulary; ++token) {
    state = state * 1664525U + 1013904223U;
    logits.push_back(static_cast<float>(state >> 20U) / 700.0F);
  }
  return logits;
}

// A graph whose keys are the tokens themselves: twice, so that there are two heads.
GraphRecord cached_graph(bool with_held) {
  GraphRecord graph;
  graph.inputs = {{"input_ids", "int64", {"batch", "sequence"}, vocabulary},
                  {"attention_mask", "int64", {"batch", "total"}, {}},
                  {"past_key_values.0.key", "float32", {"batch", 2, "past", 1}, {}}};
  if (with_held) {
    graph.inputs.push_back(
        {"past_key_values.0.encoder.key", "float32", {"batch", 1, 1, "source"}, {}});
  }
  graph.outputs = {{"logits", "float32", {"batch", vocabulary}, {}},
                   {"present.0.key", "float32", {"batch", 2, "total", 1}, {}}};
  return graph;
}

// Without a cache; every token's scores, of which all but the last's are wrong.
GraphRecord plain_graph() {
  GraphRecord graph;
  graph.inputs = {{"input_ids", "int64", {"batch", "sequence"}, vocabulary},
                  {"attention_mask", "int64", {"batch", "sequence"}, {}},
                  {"token_type_ids", "int64", {"batch", "sequence"}, {}}};
  return graph;
}

class FakeSession : public sessions::Session {
 public:
  explicit FakeSession(GraphRecord graph) : graph_(std::move(graph)) {}

  Outputs run(const Feeds& feeds) const override {
    sessions::check_feeds(graph_.inputs, feeds, 40);
    const Feed& ids = feeds.at("input_ids");
    const Feed& mask = feeds.at("attention_mask");
    const std::int64_t rows = ids.shape[0];
    const std::int64_t added = ids.shape[1];
    const std::int64_t total = mask.shape[1];
    const auto past = feeds.find("past_key_values.0.key");
    const auto held = feeds.find("past_key_values.0.encoder.key");
    sessions::Output logits{{rows, vocabulary}, {}};
    sessions::Output present{{rows, 2, total, 1}, {}};
    for (std::int64_t row = 0; row < rows; ++row) {
      Ids whole;
      for (std::int64_t place = 0; place < total - added; ++place) {
        const std::int64_t at = row * 2 * (total - added) + place;
        CHECK_EQUAL(past->second.floats[static_cast<std::size_t>(at)],
                    past->second.floats[static_cast<std::size_t>(at + total - added)]);
        whole.push_back(static_cast<std::int64_t>(past->second.floats[static_cast<std::size_t>(at)]));
      }
      for (std::int64_t place = 0; place < added; ++place) {
        whole.push_back(ids.numbers[static_cast<std::size_t>(row * added + place)]);
      }
      for (int head = 0; head < 2; ++head) {
        present.numbers.insert(present.numbers.end(), whole.begin(), whole.end());
      }
      Ids seen;
      for (std::int64_t place = 0; place < total; ++place) {
        const std::size_t at = static_cast<std::size_t>(row * total + place);
        if (mask.numbers[at] != 0) seen.push_back(whole[static_cast<std::size_t>(place)]);
      }
      const float own =
          held == feeds.end() ? 0 : held->second.floats[static_cast<std::size_t>(row)];
      const std::vector<float> scores = score(seen, own);
      if (graph_.outputs.empty()) {  // of every token
        logits.shape = {rows, total, vocabulary};
        const auto before = static_cast<std::size_t>(vocabulary) * (seen.size() - 1);
        logits.numbers.insert(logits.numbers.end(), before, 99.0F);
        logits.numbers.insert(logits.numbers.end(), scores.begin(), scores.end());
        const auto padding = static_cast<std::size_t>(total) - seen.size();
        logits.numbers.insert(logits.numbers.end(),
                              static_cast<std::size_t>(vocabulary) * padding, 98.0F);
      } else {
        logits.numbers.insert(logits.numbers.end(), scores.begin(), scores.end());
      }
    }
    Outputs outputs{{"logits", logits}};
    if (!graph_.outputs.empty()) outputs.emplace("present.0.key", present);
    return outputs;
  }

 private:
  GraphRecord graph_;
};

// An engine that keeps the rows itself.
class KeepingSession : public FakeSession {
 public:
  using FakeSession::FakeSession;

  std::unique_ptr<sessions::SessionCache> open_cache() const override {
    class Rows : public sessions::SessionCache {
      sessions::Output step(const std::vector<Ids>& tokens) override {
        rows_.resize(tokens.size());
        sessions::Output logits{{static_cast<std::int64_t>(tokens.size()), vocabulary}, {}};
        for (std::size_t row = 0; row < tokens.size(); ++row) {
          CHECK(!tokens[row].empty());
          rows_[row].insert(rows_[row].end(), tokens[row].begin(), tokens[row].end());
          const std::vector<float> scores = score(rows_[row], 0);
          logits.numbers.insert(logits.numbers.end(), scores.begin(), scores.end());
        }
        return logits;
      }
      void select(const std::vector<std::size_t>& rows) override {
        std::vector<Ids> kept;
        for (const std::size_t row : rows) kept.push_back(rows_[row]);
        rows_ = std::move(kept);
      }
      std::vector<Ids> rows_;
    };
    return std::make_unique<Rows>();
  }
};

using Answers = std::vector<std::vector<Ids>>;

template <typename Session = FakeSession>
Answers generate(const GraphRecord& graph, const std::vector<Ids>& prompts,
                 const decoding::Decoding& chosen, const std::vector<float>& held = {}) {
  bert_export::pipelines::Growth growth;
  std::size_t widest = 0;
  for (const Ids& prompt : prompts) widest = std::max(widest, prompt.size());
  for (const Ids& prompt : prompts) {
    growth.ids.emplace_back(widest - prompt.size(), 0);
    growth.ids.back().insert(growth.ids.back().end(), prompt.begin(), prompt.end());
    growth.mask.emplace_back(widest - prompt.size(), 0);
    growth.mask.back().resize(widest, 1);
    growth.of_prompts.push_back(decoding::start_continuations(prompt, 6, chosen));
  }
  Feeds fixed;
  if (!held.empty()) {
    fixed["past_key_values.0.encoder.key"] = {
        {static_cast<std::int64_t>(held.size()), 1, 1, 1}, {}, held};
  }
  const auto session = std::make_shared<Session>(graph);
  bert_export::pipelines::grow([&] { return session; },
                               *sessions::open_cache(*session, graph, 0, std::move(fixed)), growth);
  return growth.answers();
}

std::vector<decoding::Decoding> ways() {
  std::vector<decoding::Decoding> all(6);
  for (decoding::Decoding& each : all) each.ends = {end_id};
  all[1].num_beams = 3;
  all[1].num_return_sequences = 2;
  all[2].num_beams = 2;
  all[2].early_stopping = EarlyStopping::yes;
  all[3].num_beams = 4;
  all[3].early_stopping = EarlyStopping::never;
  all[3].length_penalty = 2;
  all[3].no_repeat_ngram_size = 2;
  all[4].sampling = decoding::Sampling{1.5, 0, 1.0, 7};
  all[4].num_return_sequences = 3;
  all[5].repetition_penalty = 1.3;
  all[5].min_new_tokens = 4;
  return all;
}

}  // namespace

TEST(repeated_tokens_become_less_likely) {
  std::vector<float> scores{4, -4, 0, 8};
  decoding::penalize_repetition(scores, {3, 0, 1, 3, 99, -1}, 2);
  CHECK_EQUAL(scores, (std::vector<float>{2, -8, 0, 4}));
  decoding::penalize_repetition(scores, {0}, 1);
  CHECK_EQUAL(scores[0], 2.0F);
}

TEST(ngrams_come_once) {
  const auto excluded = [](const Ids& text, std::size_t size) {
    std::vector<float> scores(6, 0);
    decoding::block_ngrams(scores, text, size);
    Ids found;
    for (std::int64_t token = 0; token < 6; ++token) {
      if (scores[static_cast<std::size_t>(token)] == blocked) found.push_back(token);
    }
    return found;
  };
  CHECK_EQUAL(excluded({1, 2, 1, 3, 1}, 2), (Ids{2, 3}));
  CHECK_EQUAL(excluded({1, 2, 3, 1, 2}, 3), (Ids{3}));
  CHECK_EQUAL(excluded({1, 1}, 2), (Ids{1}));
  CHECK_EQUAL(excluded({4, 2}, 1), (Ids{2, 4}));
  CHECK_EQUAL(excluded({4, 2}, 0), Ids{});
  CHECK_EQUAL(excluded({4, 2}, 3), Ids{});
  CHECK_EQUAL(excluded({77, 77}, 1), Ids{});
  CHECK_EQUAL(excluded({}, 1), Ids{});
}

TEST(sequences_of_a_seed_have_numpy_s_numbers) {
  CHECK_EQUAL(decoding::RandomNumbers(7).next(), 0.625095466604667);
  CHECK_EQUAL(decoding::RandomNumbers(7, 1).next(), 0.7701409510034741);
  CHECK_EQUAL(decoding::RandomNumbers(std::uint64_t{1} << 40U, 3).next(), 0.531429869083616);
  CHECK_EQUAL(decoding::RandomNumbers(0, 2).next(), 0.08082403917318748);
}

TEST(a_text_settles_character_by_character) {
  // Ids spell themselves, but what follows a 9 changes the character before it, in its last byte.
  const auto decode = [](const Ids& ids) {
    std::string text;
    for (const std::int64_t id : ids) {
      if (id == 9) text.replace(text.size() - 1, 1, "\xAA");
      if (id != 9) text += "\xC3\xA9";
    }
    return text;
  };
  CHECK_EQUAL(decoding::settled_text(decode, {1, 2, 3, 4, 5, 6}, false), "\xC3\xA9\xC3\xA9");
  CHECK_EQUAL(decoding::settled_text(decode, {1, 2, 9, 4, 5, 6}, false), "\xC3\xA9");
  CHECK_EQUAL(decoding::settled_text(decode, {1, 2}, false), "");
  CHECK_EQUAL(decoding::settled_text(decode, {1, 9}, true), "\xC3\xAA");
}

TEST(batches_answer_as_each_prompt_alone) {
  const std::vector<Ids> prompts{{2, 3}, {4}, {5, 6, 7, 8, 2}, {3, 3}};
  const GraphRecord cached = cached_graph(false);
  for (const decoding::Decoding& way : ways()) {
    const Answers together = generate(cached, prompts, way);
    CHECK(generate(plain_graph(), prompts, way) == together);
    CHECK(generate<KeepingSession>(cached, prompts, way) == together);
    for (std::size_t place = 0; place < prompts.size(); ++place) {
      CHECK(generate(cached, {prompts[place]}, way).front() == together[place]);
      CHECK_EQUAL(together[place].size(), way.num_return_sequences);
      for (const Ids& answer : together[place]) CHECK(answer.size() >= way.min_new_tokens);
    }
  }
}

TEST(what_is_held_goes_with_its_rows) {
  const std::vector<Ids> prompts{{2}, {2}, {2}};
  const GraphRecord graph = cached_graph(true);
  for (const decoding::Decoding& way : ways()) {
    const Answers together = generate(graph, prompts, way, {5, 6, 7});
    for (std::size_t place = 0; place < prompts.size(); ++place) {
      const Answers alone = generate(graph, {{2}}, way, {5 + static_cast<float>(place)});
      CHECK(alone.front() == together[place]);
    }
  }
}

TEST(a_decoder_takes_what_the_encoder_gives) {
  class Encoder : public sessions::Session {
    Outputs run(const Feeds& feeds) const override {
      CHECK_EQUAL(feeds.size(), std::size_t{2});
      Outputs outputs;
      outputs["present.0.encoder.key"] = {{1, 1, 1, 1}, {4}};
      return outputs;
    }
  };
  GraphRecord graph;
  graph.inputs = {{"input_ids", "int64", {"batch", "source"}, {}},
                  {"attention_mask", "int64", {"batch", "source"}, {}}};
  const sessions::EncoderDecoderSession halves(graph, std::make_unique<Encoder>(),
                                               std::make_unique<FakeSession>(plain_graph()));
  const Feed one{{1, 1}, {1}};
  const Feeds held =
      halves.encode({{"input_ids", one}, {"attention_mask", one}, {"token_type_ids", one}});
  CHECK_EQUAL(held.size(), std::size_t{2});
  CHECK_EQUAL(held.at("past_key_values.0.encoder.key").floats, std::vector<float>{4});
  CHECK_EQUAL(held.at("encoder_attention_mask").numbers, Ids{1});
}

TEST(a_text_of_too_many_tokens_is_refused_by_an_encoder) {
  const std::vector<TensorSpec> inputs{{"input_ids", "int64", {"batch", "source"}, {}}};
  const Feeds feeds{{"input_ids", {{1, 3}, {1, 2, 3}}}};
  const auto sizes = sessions::check_feeds(inputs, feeds, 3);
  CHECK_EQUAL(sizes.at("source"), 3);
  CHECK_EQUAL(tests::message_of<bert_export::InputError>([&] {
                sessions::check_feeds(inputs, feeds, 2);
              }),
              "rows are longer than the model takes: expected at most 2 tokens, its positions, got 3.");
}
