#include "sessions/openvino.hpp"

#include <algorithm>
#include <array>
#include <condition_variable>
#include <filesystem>
#include <map>
#include <mutex>
#include <numeric>

#include "bert_export/errors.hpp"
#include "bundle/files.hpp"
#include "bundle/sha256.hpp"
#include "sessions/linked_weights.hpp"
#include "sessions/openvino_api.hpp"
#include "text/printing.hpp"

namespace bert_export::sessions {
namespace openvino {
namespace {

constexpr const char* device = "CPU";

// Per kind of operator; each shape of the inputs needs about four of the largest kind, so that some
// 64 shapes stay. OpenVINO's own 5000 let INT8 grow by 6 MB with every new shape, to gigabytes.
constexpr const char* cached_operators = "256";

// Tokens: a new length costs INT8 fifty milliseconds, a few more tokens next to nothing.
constexpr std::int64_t int8_row_multiple = 8;

using Properties = std::vector<std::pair<const char*, std::string>>;

[[noreturn]] void cannot_start(const Failure& failure) {
  throw TargetError("engine openvino cannot start", {"", failure.text});
}

// The library's functions take properties as a list of arguments without an end: as many are read as
// are counted.
constexpr std::size_t most_properties = 5;

std::array<const char*, 2 * most_properties> arguments_of(const Properties& properties) {
  std::array<const char*, 2 * most_properties> arguments{};
  std::size_t place = 0;
  for (const auto& [key, value] : properties) {
    arguments.at(place++) = key;
    arguments.at(place++) = value.c_str();
  }
  return arguments;
}

// A compiled graph and the requests that run it side by side.
class Engine {
 public:
  Engine(const Library& library, OwnedCompiledModel compiled) : compiled_(std::move(compiled)) {
    char* text = nullptr;
    const Failure failure = library.failure_of(library->ov_compiled_model_get_property(
        compiled_.get(), "OPTIMAL_NUMBER_OF_INFER_REQUESTS", &text));
    if (failure) cannot_start(failure);
    const int count = std::atoi(library.take(text).c_str());
    for (int index = 0; index < std::max(count, 1); ++index) {
      OwnedRequest request(library);
      const Failure refused = library.failure_of(
          library->ov_compiled_model_create_infer_request(compiled_.get(), request.out()));
      if (refused) cannot_start(refused);
      free_.push_back(request.get());
      requests_.push_back(std::move(request));
    }
  }

  // Calls `use` with a request that no other thread has; where all are taken, waits for its turn.
  template <typename Use>
  auto with_request(Use use) {
    InferRequest* request = nullptr;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      given_back_.wait(lock, [&] { return !free_.empty(); });
      request = free_.back();
      free_.pop_back();
    }
    const Return guard{*this, request};
    return use(request);
  }

 private:
  struct Return {
    Engine& engine;
    InferRequest* request;
    ~Return() {
      {
        const std::lock_guard<std::mutex> lock(engine.mutex_);
        engine.free_.push_back(request);
      }
      engine.given_back_.notify_one();
    }
  };

  OwnedCompiledModel compiled_;
  std::vector<OwnedRequest> requests_;
  std::mutex mutex_;
  std::condition_variable given_back_;
  std::vector<InferRequest*> free_;
};

class OpenVinoSession : public Session {
 public:
  OpenVinoSession(const std::string& path, const bundle::EngineRecord& engine,
                  const SessionOptions& options)
      : library_(Library::open(options.library)),
        graph_(engine.graph),
        longest_(options.longest),
        row_multiple_(engine.precision == "int8" ? int8_row_multiple : 1),
        core_(library_) {
    for (const Shape& shape : options.shapes) {
      check_shape(shape);
      // Calls of just these lengths are to stay so.
      row_multiple_ = std::gcd(row_multiple_, shape.back());
    }
    if (const Failure failure = library_.failure_of(library_->ov_core_create(core_.out()))) {
      cannot_start(failure);
    }
    const std::string kept = options.cache.empty() ? "" : make_cache(options.cache, path);
    const Properties properties = properties_of(engine.precision, options, kept);
    const BesideItsWeights plain(path, kept);
    any_ = compile(path, plain.path(), properties);
    for (const Shape& shape : options.shapes) {
      fixed_[shape] = compile_for(path, plain.path(), shape, properties);
    }
  }

  Outputs run(const Feeds& feeds) const override {
    const std::map<std::string, std::int64_t> sizes = check_feeds(graph_.inputs, feeds, longest_);
    const auto fixed = fixed_.find(feeds.at(graph_.inputs.front().name).shape);
    Engine& engine = fixed == fixed_.end() ? *any_ : *fixed->second;
    Outputs outputs =
        engine.with_request([&](InferRequest* request) { return infer(request, feeds); });
    for (const bundle::TensorSpec& spec : graph_.outputs) {
      check_output(spec, outputs.at(spec.name), sizes);
    }
    return outputs;
  }

  std::size_t row_multiple() const override { return static_cast<std::size_t>(row_multiple_); }

 private:
  void check_shape(const Shape& shape) const {
    const bundle::TensorSpec& spec = graph_.inputs.front();
    const bool fits = shape.size() == spec.shape.size() && !shape.empty() &&
                      std::all_of(shape.begin(), shape.end(), [](auto size) { return size >= 1; });
    if (fits) return;
    throw InputError("shape " + shown(shape) + " is none of input " + spec.name + "'s",
                     {axes_of(spec) + ", each at least 1", shown(shape)});
  }

  // By default OpenVINO computes FP32 graphs in BF16 wherever the processor has it. Here BF16 is for
  // the precision bf16 alone; on a processor without BF16 it is computed in FP32 too. With AMX,
  // OpenVINO 2026.4 multiplies INT8 queries and keys wrongly in BF16 where a row has as many tokens
  // as a head has channels.
  std::string execution_type(const std::string& precision) const {
    char* text = nullptr;
    const Failure failure = library_.failure_of(library_->ov_core_get_property(
        core_.get(), device, "OPTIMIZATION_CAPABILITIES", &text));
    if (failure) cannot_start(failure);
    const std::string capabilities = " " + library_.take(text) + " ";
    const bool capable = capabilities.find(" BF16 ") != capabilities.npos;
    return precision == "bf16" && capable ? "bf16" : "f32";
  }

  Properties properties_of(const std::string& precision, const SessionOptions& options,
                           const std::string& kept) const {
    Properties properties{
        {"PERFORMANCE_HINT", options.hint == "throughput" ? "THROUGHPUT" : "LATENCY"},
        {"INFERENCE_PRECISION_HINT", execution_type(precision)},
        {"CPU_RUNTIME_CACHE_CAPACITY", cached_operators}};
    if (options.threads != 0) {
      properties.emplace_back("INFERENCE_NUM_THREADS", std::to_string(options.threads));
    }
    if (!kept.empty()) properties.emplace_back("CACHE_DIR", kept);
    return properties;
  }

  // Makes this graph's own subfolder of a cache, named by the content of the graph and its weights,
  // because OpenVINO itself would tell graphs apart by path, size and time of change.
  static std::string make_cache(const std::string& cache, const std::string& graph) {
    const std::string weights =
        (std::filesystem::path(graph).parent_path() / bundle::weights_file).string();
    std::string content;
    for (const std::string& path : {graph, weights}) {
      if (!bundle::is_file(path)) continue;
      bundle::Sha256 digest;
      const std::string wrong =
          bundle::read_chunks(path, [&](std::string_view chunk) { digest.update(chunk); });
      if (!wrong.empty()) {
        throw BundleError("graph " + graph + " cannot be read", {"a readable file", wrong});
      }
      content += (content.empty() ? "" : " ") + digest.finish();
    }
    bundle::Sha256 name;
    name.update(content);
    const std::string folder = cache + "/" + name.finish().substr(0, 32);
    std::error_code refused;
    std::filesystem::create_directories(folder, refused);
    if (refused) {
      throw InputError("cache " + cache + " cannot be made", {"a folder", refused.message()});
    }
    return folder;
  }

  [[noreturn]] void unreadable(const std::string& path, const Failure& failure) const {
    throw BundleError("graph " + path + " cannot be opened by openvino " + library_.version(),
                      {"a readable ONNX graph", failure.text, "Export the bundle again"});
  }

  std::unique_ptr<Engine> compile(const std::string& path, const std::string& plain,
                                  const Properties& properties) const {
    OwnedCompiledModel compiled(library_);
    const auto a = arguments_of(properties);
    const Failure failure = library_.failure_of(library_->ov_core_compile_model_from_file(
        core_.get(), plain.c_str(), device, 2 * properties.size(), compiled.out(), a[0], a[1], a[2],
        a[3], a[4], a[5], a[6], a[7], a[8], a[9]));
    if (failure) unreadable(path, failure);
    return std::make_unique<Engine>(library_, std::move(compiled));
  }

  // The graph for one shape of the first input; the other axes stay dynamic.
  std::unique_ptr<Engine> compile_for(const std::string& path, const std::string& plain,
                                      const Shape& shape, const Properties& properties) const {
    OwnedModel model(library_);
    Failure failure = library_.failure_of(
        library_->ov_core_read_model(core_.get(), plain.c_str(), nullptr, model.out()));
    if (failure) unreadable(path, failure);

    std::map<std::string, std::int64_t> sizes;
    for (std::size_t axis = 0; axis < shape.size(); ++axis) {
      const auto* const name = std::get_if<std::string>(&graph_.inputs.front().shape[axis]);
      if (name != nullptr) sizes.emplace(*name, shape[axis]);
    }
    std::vector<const char*> names;
    std::vector<std::vector<Dimension>> dimensions;
    for (const bundle::TensorSpec& spec : graph_.inputs) {
      names.push_back(spec.name.c_str());
      dimensions.emplace_back();
      for (const auto& axis : spec.shape) {
        const auto* const name = std::get_if<std::string>(&axis);
        const auto found = name == nullptr ? sizes.end() : sizes.find(*name);
        const std::int64_t size = name == nullptr       ? std::get<std::int64_t>(axis)
                                  : found == sizes.end() ? -1
                                                         : found->second;
        dimensions.back().push_back(size == -1 ? Dimension{0, -1} : Dimension{size, size});
      }
    }
    std::vector<PartialShape> shapes;
    for (std::vector<Dimension>& own : dimensions) {
      const auto rank = static_cast<std::int64_t>(own.size());
      shapes.push_back({{rank, rank}, own.data()});
    }
    failure = library_.failure_of(
        library_->ov_model_reshape(model.get(), names.data(), shapes.data(), shapes.size()));
    OwnedCompiledModel compiled(library_);
    if (!failure) {
      const auto a = arguments_of(properties);
      failure = library_.failure_of(library_->ov_core_compile_model(
          core_.get(), model.get(), device, 2 * properties.size(), compiled.out(), a[0], a[1], a[2],
          a[3], a[4], a[5], a[6], a[7], a[8], a[9]));
    }
    if (failure) {
      throw InputError("shape " + shown(shape) + " makes the graph fail",
                       {"rows that are no longer than the model's positions", failure.text});
    }
    return std::make_unique<Engine>(library_, std::move(compiled));
  }

  Outputs infer(InferRequest* request, const Feeds& feeds) const {
    // Inputs are read where they lie; outputs are copied, for the request is used again.
    std::vector<OwnedTensor> tensors;
    Failure failure;
    for (const bundle::TensorSpec& spec : graph_.inputs) {
      const Feed& feed = feeds.at(spec.name);
      const Sizes sizes{static_cast<std::int64_t>(feed.shape.size()),
                        const_cast<std::int64_t*>(feed.shape.data())};
      const bool cache = holds_floats(spec);
      void* data = cache ? static_cast<void*>(const_cast<float*>(feed.floats.data()))
                         : static_cast<void*>(const_cast<std::int64_t*>(feed.numbers.data()));
      float none = 0;
      if (data == nullptr) data = &none;  // of an empty tensor, which the library reads nothing of
      OwnedTensor tensor(library_);
      failure = library_.failure_of(library_->ov_tensor_create_from_host_ptr(
          cache ? ElementType::float32 : ElementType::int64, sizes, data, tensor.out()));
      if (!failure) {
        failure = library_.failure_of(library_->ov_infer_request_set_tensor(
            request, spec.name.c_str(), tensor.get()));
      }
      if (failure) break;
      tensors.push_back(std::move(tensor));
    }
    if (!failure) failure = library_.failure_of(library_->ov_infer_request_infer(request));
    if (failure) {
      throw InputError("feeds make the graph fail",
                       {"rows that are no longer than the model's positions", failure.text});
    }
    Outputs outputs;
    for (const bundle::TensorSpec& spec : graph_.outputs) {
      outputs.emplace(spec.name, read(request, spec.name));
    }
    return outputs;
  }

  Output read(InferRequest* request, const std::string& name) const {
    Output output;
    OwnedTensor tensor(library_);
    ElementType type{};
    void* data = nullptr;
    Failure failure = library_.failure_of(
        library_->ov_infer_request_get_tensor(request, name.c_str(), tensor.out()));
    if (!failure) {
      failure = library_.failure_of(library_->ov_tensor_get_element_type(tensor.get(), &type));
    }
    if (!failure && type != ElementType::float32) failure.text = "numbers that are no float32";
    Sizes sizes{};
    if (!failure) {
      failure = library_.failure_of(library_->ov_tensor_get_shape(tensor.get(), &sizes));
    }
    if (!failure) {
      output.shape.assign(sizes.sizes, sizes.sizes + sizes.rank);
      library_->ov_shape_free(&sizes);
      failure = library_.failure_of(library_->ov_tensor_data(tensor.get(), &data));
    }
    if (failure) throw TargetError("output " + name + " cannot be read", {"", failure.text});
    std::size_t count = 1;
    for (const std::int64_t size : output.shape) count *= static_cast<std::size_t>(size);
    const auto* const numbers = static_cast<const float*>(data);
    if (count != 0) output.numbers.assign(numbers, numbers + count);
    return output;
  }

  // Refuses results of another size: OpenVINO answers no rows where shapes do not fit inside.
  static void check_output(const bundle::TensorSpec& spec, const Output& output,
                           const std::map<std::string, std::int64_t>& sizes) {
    Shape wanted = output.shape;
    wanted.resize(spec.shape.size());
    for (std::size_t axis = 0; axis < spec.shape.size(); ++axis) {
      const auto* const name = std::get_if<std::string>(&spec.shape[axis]);
      const auto found = name == nullptr ? sizes.end() : sizes.find(*name);
      if (name == nullptr) wanted[axis] = std::get<std::int64_t>(spec.shape[axis]);
      if (found != sizes.end()) wanted[axis] = found->second;
    }
    if (wanted == output.shape) return;
    throw InputError("feeds make the graph fail",
                     {"rows that are no longer than the model's positions, and with them " +
                          spec.name + " of " + shown(wanted),
                      shown(output.shape)});
  }

  const Library& library_;
  bundle::GraphRecord graph_;
  std::optional<std::int64_t> longest_;
  std::int64_t row_multiple_;
  OwnedCore core_;
  std::unique_ptr<Engine> any_;
  std::map<Shape, std::unique_ptr<Engine>> fixed_;
};

}  // namespace
}  // namespace openvino

std::unique_ptr<Session> open_openvino(const std::string& folder,
                                       const bundle::EngineRecord& engine,
                                       const SessionOptions& options) {
  check_threads(options.threads);
  if (!options.hint.empty() && options.hint != "latency" && options.hint != "throughput") {
    throw InputError("hint " + text::shown(options.hint) + " is unknown",
                     {"one of latency, throughput", text::shown(options.hint)});
  }
  const std::string path = folder + "/" + engine.graph.file;
  check_types(path, engine.graph);
  return std::make_unique<openvino::OpenVinoSession>(path, engine, options);
}

}  // namespace bert_export::sessions
