// TensorRT without a GPU: it runs engines whose file is a list of tensors, a line each.
//
//     input input_ids int64 2
//     output logits float32 input_ids 3
//
// An input has a type and a rank. An output has a row for each of the input that it names, and so many
// columns: the sum of the input's row times the column's number, and a thousand times the number of the
// profile. A 66 in an input makes the engine fail.

#include <NvInferRuntime.h>

#include <map>
#include <sstream>
#include <string>
#include <vector>

namespace {

using namespace nvinfer1;

struct Tensor {
  TensorIOMode mode;
  std::string name;
  DataType type;
  std::int32_t rank = 2;
  std::string source = {};
  std::int64_t columns = 0;
};

void say(ILogger& logger, const char* message) {
  logger.log(ILogger::Severity::kERROR, message);
  logger.log(ILogger::Severity::kWARNING, "nothing of interest");
}

class Context : public IExecutionContext {
 public:
  Context(const std::vector<Tensor>& tensors, ILogger& logger) : tensors_(tensors), logger_(logger) {}

  bool setOptimizationProfileAsync(std::int32_t index, cudaStream_t stream) noexcept override {
    profile_ = index;
    return stream != nullptr;
  }
  bool setInputShape(char const* name, Dims const& dims) noexcept override {
    shapes_[name] = dims;
    return dims.nbDims == find(name).rank;
  }
  bool setTensorAddress(char const* name, void* data) noexcept override {
    places_[name] = data;
    return data != nullptr;
  }
  Dims getTensorShape(char const* name) const noexcept override {
    const Tensor& tensor = find(name);
    const auto found = shapes_.find(tensor.source);
    if (found == shapes_.end()) return {-1, {}};
    return {2, {found->second.d[0], tensor.columns}};
  }
  bool enqueueV3(cudaStream_t stream) noexcept override {
    if (stream == nullptr) return false;
    for (const Tensor& tensor : tensors_) {
      if (tensor.mode == TensorIOMode::kOUTPUT && !run(tensor)) return false;
    }
    return true;
  }

 private:
  const Tensor& find(const std::string& name) const {
    for (const Tensor& tensor : tensors_) {
      if (tensor.name == name) return tensor;
    }
    return tensors_.front();
  }

  bool run(const Tensor& output) {
    const Dims shape = shapes_[output.source];
    const std::int64_t width = shape.nbDims == 2 ? shape.d[1] : 1;
    const auto* numbers = static_cast<const std::int64_t*>(places_[output.source]);
    auto* sums = static_cast<float*>(places_[output.name]);
    for (std::int64_t row = 0; row < shape.d[0]; ++row, numbers += width, sums += output.columns) {
      std::int64_t sum = 0;
      for (std::int64_t place = 0; place < width; ++place) {
        if (numbers[place] == 66) {
          say(logger_, "kernel failed:\n66 is no number");
          return false;
        }
        sum += numbers[place];
      }
      for (std::int64_t column = 0; column < output.columns; ++column) {
        sums[column] = static_cast<float>(sum * column + 1000 * profile_);
      }
    }
    return true;
  }

  const std::vector<Tensor>& tensors_;
  ILogger& logger_;
  std::int32_t profile_ = 0;
  std::map<std::string, Dims> shapes_;
  std::map<std::string, void*> places_;
};

class Engine : public ICudaEngine {
 public:
  Engine(std::vector<Tensor> tensors, ILogger& logger)
      : tensors_(std::move(tensors)), logger_(logger) {}

  std::int32_t getNbIOTensors() const noexcept override {
    return static_cast<std::int32_t>(tensors_.size());
  }
  char const* getIOTensorName(std::int32_t index) const noexcept override {
    return tensors_[static_cast<std::size_t>(index)].name.c_str();
  }
  TensorIOMode getTensorIOMode(char const* name) const noexcept override {
    const Tensor* const tensor = find(name);
    return tensor == nullptr ? TensorIOMode::kNONE : tensor->mode;
  }
  DataType getTensorDataType(char const* name) const noexcept override { return find(name)->type; }
  IExecutionContext* createExecutionContext() noexcept override {
    return new Context(tensors_, logger_);
  }

 private:
  const Tensor* find(const std::string& name) const {
    for (const Tensor& tensor : tensors_) {
      if (tensor.name == name) return &tensor;
    }
    return nullptr;
  }

  std::vector<Tensor> tensors_;
  ILogger& logger_;
};

class Runtime : public IRuntime {
 public:
  explicit Runtime(ILogger& logger) : logger_(logger) {}

  ICudaEngine* deserializeCudaEngine(void const* blob, std::size_t size) noexcept override {
    std::istringstream lines(std::string(static_cast<const char*>(blob), size));
    std::vector<Tensor> tensors;
    for (std::string kind, name, type; lines >> kind >> name >> type;) {
      const bool input = kind == "input";
      if (!input && kind != "output") break;
      Tensor& tensor = tensors.emplace_back();
      tensor.mode = input ? TensorIOMode::kINPUT : TensorIOMode::kOUTPUT;
      tensor.name = name;
      tensor.type = type == "int64" ? DataType::kINT64
                    : type == "float32" ? DataType::kFLOAT
                                        : DataType::kHALF;
      if (input) {
        lines >> tensor.rank;
      } else {
        lines >> tensor.source >> tensor.columns;
      }
    }
    if (!lines.eof() || tensors.empty()) {
      say(logger_, "The engine plan file is not compatible\nwith this version");
      return nullptr;
    }
    return new Engine(std::move(tensors), logger_);
  }

 private:
  ILogger& logger_;
};

}  // namespace

extern "C" {
int getInferLibMajorVersion() { return FAKE_MAJOR; }
int getInferLibMinorVersion() { return 2; }
int getInferLibPatchVersion() { return 1; }

void* createInferRuntime_INTERNAL(void* logger, std::int32_t version) noexcept {
  auto& own = *static_cast<ILogger*>(logger);
  if (version == NV_TENSORRT_VERSION) return new Runtime(own);
  say(own, "headers of another version");
  return nullptr;
}
}
