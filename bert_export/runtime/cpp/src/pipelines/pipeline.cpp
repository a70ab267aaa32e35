#include "bert_export/pipeline.hpp"

#include "pipelines/opened_bundle.hpp"

namespace bert_export {

Pipeline::Pipeline(std::shared_ptr<const pipelines::OpenedBundle> bundle)
    : bundle_(std::move(bundle)) {}

const std::string& Pipeline::task() const { return bundle_->task(); }
const std::string& Pipeline::target() const { return bundle_->engine().target; }
const std::string& Pipeline::precision() const { return bundle_->engine().precision; }
const Tokenizer& Pipeline::tokenizer() const { return bundle_->tokenizer(); }
std::int64_t Pipeline::vocab_size() const { return bundle_->manifest().vocab_size; }
const std::vector<std::string>& Pipeline::labels() const { return bundle_->manifest().labels; }
void Pipeline::close() { bundle_->close(); }

}  // namespace bert_export
