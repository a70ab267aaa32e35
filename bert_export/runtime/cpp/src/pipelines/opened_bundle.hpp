// What every pipeline is: a manifest, a tokenizer and an opened graph.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bert_export/errors.hpp"
#include "bert_export/generation.hpp"
#include "bert_export/open_options.hpp"
#include "bert_export/tokenizer.hpp"
#include "bundle/manifest.hpp"
#include "pipelines/batching.hpp"
#include "sessions/session.hpp"
#include "text/json.hpp"

namespace bert_export::pipelines {

class OpenedBundle {
 public:
  // Opens a bundle for a task; one for zero-shot classification and one for text classification may
  // stand for each other. Throws BundleError, TaskError, TargetError or TokenizerError.
  OpenedBundle(const std::string& path, const std::string& task, const OpenOptions& options);

  OpenedBundle(const OpenedBundle&) = delete;
  OpenedBundle& operator=(const OpenedBundle&) = delete;

  // Refuses a graph whose logits are not one per label.
  void check_labels() const;

  const std::string& task() const { return task_; }
  const bundle::Manifest& manifest() const { return manifest_; }
  const bundle::EngineRecord& engine() const { return engine_; }
  const Tokenizer& tokenizer() const { return tokenizer_; }
  const bundle::GraphRecord& graph() const { return engine_.graph; }
  // The bundle's parameters of the task; none where it was exported for another.
  const text::Json& postprocessing() const { return postprocessing_; }

  // The opened graph. Throws InputError after close().
  std::shared_ptr<const sessions::Session> session() const;
  // Frees the graph, once the calls that run have ended. In a child that was forked its memory stays
  // until the end.
  void close() const;

  // Calls `work` with every number below `count`, on the pool where there is one.
  void for_each(std::size_t count, const std::function<void(std::size_t)>& work) const;

  // What a batch of rows costs.
  struct Cost {
    // Rows of the graph that one of them needs.
    std::size_t rows = 1;
    // How many times the token budget a batch may hold.
    std::size_t budgets = 1;
  };

  // Hands `run` the rows of every batch by their places, given the tokens of each; batches may run
  // side by side. `batch_size` bounds rows per batch beside the token budget; throws InputError
  // where it is 0.
  void in_batches(const std::vector<std::size_t>& lengths, std::optional<std::size_t> batch_size,
                  const std::function<void(const std::vector<std::size_t>&)>& run,
                  const Cost& cost = {1, 1}) const;

  // Runs rows in batches and hands `reduce` each row's place and outputs, which it must not keep.
  void run_rows(const std::vector<const Row*>& rows, std::optional<std::size_t> batch_size,
                const std::function<void(std::size_t, const RowOutputs&)>& reduce) const;

  // Tokens that a row of so many is padded to.
  std::size_t padded_length(std::size_t tokens) const;

 private:
  std::string task_;
  bundle::Manifest manifest_;
  text::Json postprocessing_;
  const bundle::EngineRecord& engine_;
  std::size_t token_budget_;
  bool sort_;
  std::shared_ptr<ThreadPool> pool_;
  Tokenizer tokenizer_;
  std::optional<std::int64_t> mask_id_;
  // Written by close() alone, once no thread reads it. No lock: a child that was forked while a thread
  // held one would wait for it for ever.
  mutable std::shared_ptr<const sessions::Session> session_;
  mutable std::atomic<std::size_t> readers_{0};
  mutable std::atomic<bool> closed_{false};
  std::size_t forks_;
  // What the session says of itself, which is asked after close() too.
  std::size_t row_multiple_;
  std::optional<std::size_t> max_rows_;
};

// The manifest's post-processing, field by field; what it does not name has the given default.
// Throws BundleError where a field is of another type.
class Parameters {
 public:
  explicit Parameters(const OpenedBundle& bundle) : json_(bundle.postprocessing()) {}

  std::string string(const char* name, const std::string& otherwise) const;
  std::optional<std::string> string_or_none(const char* name) const;
  std::vector<std::string> strings(const char* name,
                                   const std::vector<std::string>& otherwise) const;
  // Whole numbers from `least` on; nothing where the field is null.
  std::optional<std::int64_t> whole(const char* name, std::optional<std::int64_t> otherwise,
                                    std::int64_t least) const;
  // As whole, for a field that cannot be null.
  std::size_t size(const char* name, std::size_t otherwise, std::int64_t least) const;
  double number(const char* name, double otherwise) const;
  bool flag(const char* name, bool otherwise) const;
  // In the manifest's order.
  std::vector<std::pair<std::string, std::string>> strings_by_name(const char* name) const;
  Truncation truncation(const char* name, Truncation otherwise) const;
  // A list of whole numbers from 0 on; empty where it is not there.
  std::vector<std::int64_t> ids(const char* name) const;
  // true, false or never.
  EarlyStopping early_stopping(const char* name) const;

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

// The one of several words that an option is, in whatever case. Throws InputError, which says what
// is expected.
std::string check_word(const char* option, const std::string& asked,
                       const std::vector<std::string>& words, const std::string& expected);

// An option that must be a whole number from `least` on. Throws InputError.
template <typename Number>
Number check_whole(const char* option, Number asked, Number least) {
  if (asked >= least) return asked;
  throw InputError(std::string(option) + " is wrong",
                   {"a whole number, at least " + std::to_string(least), std::to_string(asked)});
}

// An option that must be a finite number. Throws InputError.
double check_number(const char* option, double asked);

// A text as it is encoded for a row. Throws InputError where it has no token at all, or more than
// `limit`, where there is one.
Row encode_text(const Tokenizer& tokenizer, const Text& text, const EncodeOptions& how,
                std::optional<std::int64_t> limit = std::nullopt);

}  // namespace bert_export::pipelines
