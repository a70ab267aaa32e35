// What every pipeline is: a manifest, a tokenizer and an opened graph.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bert_export/errors.hpp"
#include "bert_export/pipelines.hpp"
#include "bert_export/tokenizer.hpp"
#include "bundle/manifest.hpp"
#include "pipelines/batching.hpp"
#include "sessions/session.hpp"
#include "text/json.hpp"

namespace bert_export::pipelines {

class OpenedBundle {
 public:
  // Opens a bundle for a task. Throws BundleError, TaskError, TargetError or TokenizerError.
  OpenedBundle(const std::string& path, const std::string& task, const OpenOptions& options);

  OpenedBundle(const OpenedBundle&) = delete;
  OpenedBundle& operator=(const OpenedBundle&) = delete;

  // Refuses a graph whose logits are not one per label.
  void check_labels() const;

  const bundle::Manifest& manifest() const { return manifest_; }
  const Tokenizer& tokenizer() const { return tokenizer_; }
  const bundle::GraphRecord& graph() const { return engine_.graph; }

  // Runs rows in batches under the token budget; each row's outputs, in the rows' order.
  std::vector<RowOutputs> run_rows(const std::vector<Row>& rows) const;

 private:
  std::size_t padded_length(std::size_t tokens) const;

  bundle::Manifest manifest_;
  const bundle::EngineRecord& engine_;
  std::size_t token_budget_;
  bool sort_;
  Tokenizer tokenizer_;
  std::unique_ptr<const sessions::Session> session_;
};

// The manifest's post-processing, field by field; what it does not name has the given default. Throws
// BundleError where a field is of another type.
class Parameters {
 public:
  explicit Parameters(const bundle::Manifest& manifest) : json_(manifest.postprocessing) {}

  std::string string(const char* name, const std::string& otherwise) const;
  std::optional<std::string> string_or_none(const char* name) const;
  std::vector<std::string> strings(const char* name,
                                   const std::vector<std::string>& otherwise) const;
  // Whole numbers from `least` on; nothing where the field is null.
  std::optional<std::int64_t> whole(const char* name, std::optional<std::int64_t> otherwise,
                                    std::int64_t least) const;
  bool flag(const char* name, bool otherwise) const;
  // In the manifest's order.
  std::vector<std::pair<std::string, std::string>> strings_by_name(const char* name) const;
  Truncation truncation(const char* name, Truncation otherwise) const;

 private:
  template <typename Read>
  auto read(const char* name, Read read) const;

  const text::Json& json_;
};

// Calls `read` for the item of a list; an InputError that it throws names the item.
template <typename Read>
auto naming_item(std::size_t index, Read read) {
  try {
    return read();
  } catch (const InputError& error) {
    throw InputError("item " + std::to_string(index) + ": " + error.what());
  }
}

// The one of several words that an option is, in whatever case. Throws InputError, which says what is
// expected.
std::string check_word(const char* option, const std::string& asked,
                       const std::vector<std::string>& words, const std::string& expected);

}  // namespace bert_export::pipelines
