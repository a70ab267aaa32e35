#include "pipelines/opened_bundle.hpp"

#include <algorithm>

#include "bert_export/errors.hpp"
#include "bundle/integrity.hpp"
#include "decoding/lower.hpp"
#include "sessions/opening.hpp"
#include "text/printing.hpp"

namespace bert_export::pipelines {
namespace {

bundle::Manifest open_manifest(const std::string& path, const std::string& task,
                               const OpenOptions& options) {
  bundle::Manifest manifest = bundle::read_manifest(path);
  if (manifest.task != task) {
    throw TaskError("task " + task + " does not fit the bundle",
                    {manifest.task, task, "Export the checkpoint again with --task " + task});
  }
  manifest.engine(options.target);
  if (options.verify) bundle::verify_files(path, manifest);
  return manifest;
}

std::unique_ptr<const sessions::Session> open_session(const std::string& path,
                                                      const bundle::Manifest& manifest,
                                                      const bundle::EngineRecord& engine,
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
  return sessions::open_session(path, engine, own);
}

}  // namespace

OpenedBundle::OpenedBundle(const std::string& path, const std::string& task,
                           const OpenOptions& options)
    : manifest_(open_manifest(path, task, options)),
      engine_(manifest_.engine(options.target)),
      token_budget_(options.token_budget),
      sort_(options.sort),
      tokenizer_(Tokenizer::from_file(path + "/" + manifest_.tokenizer.file, manifest_.tokenizer)),
      session_(open_session(path, manifest_, engine_, options)) {
  if (token_budget_ == 0) {
    throw InputError("token_budget is wrong", {"a whole number from 1 on", "0"});
  }
}

void OpenedBundle::check_labels() const {
  for (const bundle::TensorSpec& output : engine_.graph.outputs) {
    if (output.name != "logits" || output.shape.empty()) continue;
    const auto* const scored = std::get_if<std::int64_t>(&output.shape.back());
    if (scored != nullptr && *scored == static_cast<std::int64_t>(manifest_.labels.size())) return;
  }
  throw BundleError("bundle has a graph that does not score its labels",
                    {"logits whose last axis has " + std::to_string(manifest_.labels.size()) +
                         " numbers",
                     "another interface", "Export the bundle again"});
}

// The next length that the session prefers, unless the model does not take so many.
std::size_t OpenedBundle::padded_length(std::size_t tokens) const {
  const std::size_t multiple = session_->row_multiple();
  const std::size_t padded = (tokens + multiple - 1) / multiple * multiple;
  return padded <= static_cast<std::size_t>(tokenizer_.record().max_length) ? padded : tokens;
}

std::vector<RowOutputs> OpenedBundle::run_rows(const std::vector<Row>& rows) const {
  std::vector<std::size_t> lengths;
  for (const Row& row : rows) lengths.push_back(padded_length(row.encoded.size()));
  std::vector<RowOutputs> results(rows.size());
  for (const std::vector<std::size_t>& batch : batch_rows(lengths, token_budget_, sort_)) {
    std::vector<const Row*> own;
    for (const std::size_t index : batch) own.push_back(&rows[index]);
    std::size_t longest = 0;
    for (const std::size_t index : batch) longest = std::max(longest, lengths[index]);
    const sessions::Outputs outputs = session_->run(pad_rows(own, tokenizer_.pad_id(), longest));
    std::vector<RowOutputs> split = split_outputs(own, outputs, engine_.graph.outputs);
    for (std::size_t place = 0; place < batch.size(); ++place) {
      results[batch[place]] = std::move(split[place]);
    }
  }
  return results;
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
    for (const auto& [known, truncation] : {std::pair("longest_first", Truncation::longest_first),
                                            std::pair("only_first", Truncation::only_first),
                                            std::pair("only_second", Truncation::only_second),
                                            std::pair("none", Truncation::none)}) {
      if (word == known) return truncation;
    }
    throw text::JsonError(std::string(name) + " is " + word);
  });
}

std::string check_word(const char* option, const std::string& asked,
                       const std::vector<std::string>& words, const std::string& expected) {
  std::string word = decoding::lower(asked);
  if (std::find(words.begin(), words.end(), word) != words.end()) return word;
  throw InputError(std::string(option) + " is unknown", {expected, text::shown(asked)});
}

}  // namespace bert_export::pipelines
