// What the pipelines of all tasks have.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "bert_export/tokenizer.hpp"
#include "bert_export/visibility.hpp"

namespace bert_export {

namespace pipelines {
class OpenedBundle;
}

// An opened bundle. Copies are handles of the same one; its engine is freed with the last of them,
// or by close().
//
// A pipeline may be called from several threads at once. What a call leaves out is as the bundle
// says.
class BERT_EXPORT_API Pipeline {
 public:
  // Name of the task that is answered.
  const std::string& task() const;
  // Names of the engine that answers and of its precision, such as onnxruntime and int8.
  const std::string& target() const;
  const std::string& precision() const;
  const Tokenizer& tokenizer() const;
  // How many ids the model has rows for.
  std::int64_t vocab_size() const;
  // Label names in id order; empty where the task has none.
  const std::vector<std::string>& labels() const;

  // Frees the engine, for all copies. A graph call that runs in another thread ends first; whatever
  // comes later throws InputError.
  void close();

 protected:
  explicit Pipeline(std::shared_ptr<const pipelines::OpenedBundle> bundle);
  ~Pipeline() = default;
  Pipeline(const Pipeline&) = default;
  Pipeline(Pipeline&&) = default;
  Pipeline& operator=(const Pipeline&) = default;
  Pipeline& operator=(Pipeline&&) = default;

 private:
  std::shared_ptr<const pipelines::OpenedBundle> bundle_;
};

}  // namespace bert_export
