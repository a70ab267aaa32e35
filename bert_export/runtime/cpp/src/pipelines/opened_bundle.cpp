#include "pipelines/opened_bundle.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <thread>

#include "bert_export/errors.hpp"
#include "bundle/integrity.hpp"
#include "decoding/lower.hpp"
#include "sessions/opening.hpp"
#include "text/printing.hpp"
#include "threads/team.hpp"

namespace bert_export::pipelines {
namespace {

// Tasks that read the same head, as messages name them.
constexpr std::pair<const char*, const char*> same_heads[] = {
    {"text-classification", "zero-shot-classification"},
    {"text2text-generation", "summarization"},
};

// The tasks that a bundle of one may be opened for.
std::vector<std::string> tasks_of_head(const std::string& task) {
  for (const auto& [first, second] : same_heads) {
    if (task == first || task == second) return {first, second};
  }
  return {task};
}

bundle::Manifest open_manifest(const std::string& path, const std::string& task,
                               const OpenOptions& options) {
  bundle::Manifest manifest = bundle::read_manifest(path);
  const std::vector<std::string> able = tasks_of_head(manifest.task);
  if (std::find(able.begin(), able.end(), task) == able.end()) {
    std::string expected;
    for (const std::string& each : able) expected += (expected.empty() ? "" : " or ") + each;
    throw TaskError("task " + task + " does not fit the bundle",
                    {expected, task, "Export the checkpoint again with --task " + task});
  }
  manifest.engine(options.target);  // refused before files are read
  if (options.verify) bundle::verify_files(path, manifest);
  return manifest;
}

// What a bundle says that this task reads: all where its own says as much.
text::Json shared_parameters(const std::string& task, const bundle::Manifest& manifest) {
  const text::Json& postprocessing = manifest.postprocessing;
  if (task == manifest.task || task == same_heads[1].first || task == same_heads[1].second) {
    return postprocessing;
  }
  text::JsonObject shared;
  for (const auto& [name, value] : postprocessing.object("postprocessing")) {
    if (name == "problem_type" || name == "activation_fn") shared.emplace_back(name, value);
  }
  return text::Json(std::move(shared));
}

sessions::SessionOptions session_options(const bundle::Manifest& manifest,
                                         const OpenOptions& options) {
  sessions::SessionOptions own;
  own.threads = options.threads;
  own.spinning = options.spinning;
  own.shrink_arena = options.shrink_arena;
  own.library = options.library;
  own.hint = options.hint;
  own.cache = options.cache;
  own.shapes = options.shapes;
  own.longest = manifest.max_position_embeddings;
  return own;
}

}  // namespace

OpenedBundle::OpenedBundle(const std::string& path, const std::string& task,
                           const OpenOptions& options)
    : task_(task),
      manifest_(open_manifest(path, task, options)),
      postprocessing_(shared_parameters(task, manifest_)),
      engine_(sessions::choose_engine(manifest_, options.target,
                                      session_options(manifest_, options))),
      token_budget_(check_whole<std::size_t>("token_budget", options.token_budget, 1)),
      sort_(options.sort),
      pool_(options.pool),
      tokenizer_(Tokenizer::from_file(path + "/" + manifest_.tokenizer.file, manifest_.tokenizer)),
      mask_id_(tokenizer_.mask_id()),
      session_(sessions::open_session(path, engine_, session_options(manifest_, options))),
      forks_(Team::current_forks()),
      row_multiple_(session_->row_multiple()),
      max_rows_(session_->max_rows()) {}

void OpenedBundle::check_labels() const {
  for (const bundle::TensorSpec& output : engine_.graph.outputs) {
    if (output.name != "logits" || output.shape.empty()) continue;
    const auto* const scored = std::get_if<std::int64_t>(&output.shape.back());
    if (scored != nullptr && *scored == static_cast<std::int64_t>(manifest_.labels.size())) return;
  }
  throw BundleError(
      "bundle has a graph that does not score its labels",
      {"logits whose last axis has " + std::to_string(manifest_.labels.size()) + " numbers",
       "another interface", "Export the bundle again"});
}

std::shared_ptr<const sessions::Session> OpenedBundle::session() const {
  std::shared_ptr<const sessions::Session> own;
  readers_.fetch_add(1);
  if (!closed_.load()) own = session_;
  readers_.fetch_sub(1);
  if (own) return own;
  throw InputError("session is closed", {"", "", "Load the bundle again"});
}

void OpenedBundle::close() const {
  if (closed_.exchange(true)) return;
  // A reader at the time of the fork is not in the child.
  if (forks_ != Team::current_forks()) return;
  while (readers_.load() != 0) std::this_thread::yield();
  session_.reset();
}

void OpenedBundle::for_each(std::size_t count, const std::function<void(std::size_t)>& work) const {
  if (pool_ && count > 1) {
    pool_->for_each(count, work);
  } else {
    for (std::size_t index = 0; index < count; ++index) work(index);
  }
}

// The next length that the session prefers, unless the model does not take so many.
std::size_t OpenedBundle::padded_length(std::size_t tokens) const {
  const std::size_t padded = (tokens + row_multiple_ - 1) / row_multiple_ * row_multiple_;
  return padded <= static_cast<std::size_t>(tokenizer_.max_length()) ? padded : tokens;
}

void OpenedBundle::in_batches(
    const std::vector<std::size_t>& lengths, std::optional<std::size_t> batch_size,
    const std::function<void(const std::vector<std::size_t>&)>& run, const Cost& cost) const {
  std::optional<std::size_t> bound = max_rows_;
  if (batch_size) {
    check_whole<std::size_t>("batch_size", *batch_size, 1);
    bound = bound ? std::min(*bound, *batch_size) : batch_size;
  }
  if (bound) bound = std::max<std::size_t>(1, *bound / cost.rows);
  const std::size_t most = std::numeric_limits<std::size_t>::max() / cost.budgets;
  const auto batches =
      batch_rows(lengths, std::min(token_budget_, most) * cost.budgets, sort_, bound);
  for_each(batches.size(), [&](std::size_t index) { run(batches[index]); });
}

void OpenedBundle::run_rows(
    const std::vector<const Row*>& rows, std::optional<std::size_t> batch_size,
    const std::function<void(std::size_t, const RowOutputs&)>& reduce) const {
  std::vector<std::size_t> lengths;
  for (const Row* const row : rows) lengths.push_back(padded_length(row->encoded.size()));
  in_batches(lengths, batch_size, [&](const std::vector<std::size_t>& batch) {
    std::vector<const Row*> own;
    std::size_t longest = 0;
    for (const std::size_t index : batch) {
      own.push_back(rows[index]);
      longest = std::max(longest, lengths[index]);
    }
    const sessions::Outputs outputs =
        session()->run(pad_rows(own, tokenizer_.pad_id(), longest, engine_.graph.inputs, mask_id_));
    const auto split = split_outputs(own, outputs, engine_.graph.outputs, mask_id_);
    for (std::size_t place = 0; place < batch.size(); ++place) reduce(batch[place], split[place]);
  });
}

template <typename Read>
auto Parameters::read(const char* name, Read read) const {
  try {
    return read(json_.find(name));
  } catch (const text::JsonError& error) {
    throw BundleError("bundle has malformed postprocessing",
                      {"the fields of its task", error.what(), "Export the bundle again"});
  }
}

std::string Parameters::string(const char* name, const std::string& otherwise) const {
  return read(name, [&](const text::Json* field) {
    return field == nullptr ? otherwise : field->string(name);
  });
}

std::optional<std::string> Parameters::string_or_none(const char* name) const {
  return read(name, [&](const text::Json* field) -> std::optional<std::string> {
    if (field == nullptr || field->is_null()) return std::nullopt;
    return field->string(name);
  });
}

std::vector<std::string> Parameters::strings(const char* name,
                                             const std::vector<std::string>& otherwise) const {
  return read(name, [&](const text::Json* field) {
    if (field == nullptr) return otherwise;
    std::vector<std::string> strings;
    for (const text::Json& item : field->array(name)) strings.push_back(item.string(name));
    return strings;
  });
}

std::optional<std::int64_t> Parameters::whole(const char* name,
                                              std::optional<std::int64_t> otherwise,
                                              std::int64_t least) const {
  return read(name, [&](const text::Json* field) -> std::optional<std::int64_t> {
    if (field == nullptr) return otherwise;
    if (field->is_null()) return std::nullopt;
    const std::int64_t number = field->integer(name);
    if (number < least) throw text::JsonError(std::string(name) + " is too small");
    return number;
  });
}

std::size_t Parameters::size(const char* name, std::size_t otherwise, std::int64_t least) const {
  const auto found = whole(name, static_cast<std::int64_t>(otherwise), least);
  return read(name, [&](const text::Json*) {
    if (!found) throw text::JsonError(std::string(name) + " is null");
    return static_cast<std::size_t>(*found);
  });
}

double Parameters::number(const char* name, double otherwise) const {
  return read(name, [&](const text::Json* field) {
    return field == nullptr ? otherwise : field->number(name);
  });
}

bool Parameters::flag(const char* name, bool otherwise) const {
  return read(name, [&](const text::Json* field) {
    return field == nullptr ? otherwise : field->boolean(name);
  });
}

std::vector<std::pair<std::string, std::string>> Parameters::strings_by_name(
    const char* name) const {
  return read(name, [&](const text::Json* field) {
    std::vector<std::pair<std::string, std::string>> strings;
    if (field == nullptr) return strings;
    for (const auto& [key, value] : field->object(name)) {
      strings.emplace_back(key, value.string(name));
    }
    return strings;
  });
}

Truncation Parameters::truncation(const char* name, Truncation otherwise) const {
  return read(name, [&](const text::Json* field) {
    if (field == nullptr) return otherwise;
    const std::string& word = field->string(name);
    for (const auto& [known, truncation] :
         {std::pair("longest_first", Truncation::longest_first),
          std::pair("only_first", Truncation::only_first),
          std::pair("only_second", Truncation::only_second), std::pair("none", Truncation::none)}) {
      if (word == known) return truncation;
    }
    throw text::JsonError(std::string(name) + " is " + word);
  });
}

std::vector<std::int64_t> Parameters::ids(const char* name) const {
  return read(name, [&](const text::Json* field) {
    std::vector<std::int64_t> ids;
    if (field == nullptr) return ids;
    for (const text::Json& id : field->array(name)) {
      ids.push_back(id.integer(name));
      if (ids.back() < 0) throw text::JsonError(std::string(name) + " is below 0");
    }
    return ids;
  });
}

EarlyStopping Parameters::early_stopping(const char* name) const {
  return read(name, [&](const text::Json* field) {
    if (field == nullptr) return EarlyStopping::no;
    if (field->is_string() && field->string(name) == "never") return EarlyStopping::never;
    return field->boolean(name) ? EarlyStopping::yes : EarlyStopping::no;
  });
}

std::string check_word(const char* option, const std::string& asked,
                       const std::vector<std::string>& words, const std::string& expected) {
  std::string word = decoding::lower(asked);
  if (std::find(words.begin(), words.end(), word) != words.end()) return word;
  throw InputError(std::string(option) + " is unknown", {expected, text::shown(asked)});
}

double check_number(const char* option, double asked) {
  if (std::isfinite(asked)) return asked;
  throw InputError(std::string(option) + " is wrong", {"a number", text::shown(asked)});
}

Row encode_text(const Tokenizer& tokenizer, const Text& text, const EncodeOptions& how,
                std::optional<std::int64_t> limit) {
  Row row{tokenizer.encode(text, how).front()};
  const auto shown = [&] {
    return text.kind == Text::Kind::single ? text::shown(text.parts[0])
                                           : text::shown(text.parts, "()");
  };
  if (row.encoded.size() == 0) {
    throw InputError("text " + shown() + " is empty",
                     {"at least one token", "none", "Leave add_special_tokens on"});
  }
  if (limit && static_cast<std::int64_t>(row.encoded.size()) > *limit) {
    throw InputError("text " + shown() + " is too long",
                     {"at most " + std::to_string(*limit) + " tokens",
                      std::to_string(row.encoded.size()), "Shorten it, or turn truncation on"});
  }
  return row;
}

}  // namespace bert_export::pipelines
