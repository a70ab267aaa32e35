#include "sessions/onnxruntime.hpp"

#include <algorithm>

#include "bert_export/errors.hpp"
#include "sessions/onnxruntime_api.hpp"
#include "sessions/pieces.hpp"
#include "sessions/processor.hpp"

namespace bert_export::sessions {
namespace onnxruntime {
namespace {

// Fusions of ONNX Runtime's extended level, which would undo the graph's form.
constexpr const char* fusions =
    "AttentionFusion;BiasGeluFusion;BiasSkipLayerNormFusion;BiasSoftmaxFusion;"
    "DynamicQuantizeMatMulFusion;EmbedLayerNormFusion;FastGeluFusion;GatherSliceToSplitFusion;"
    "GatherToSliceFusion;GeluFusionL2;GemmActivationFusion;GroupQueryAttentionFusion;"
    "LayerNormFusionL2;MatMulActivationFusion;MatMulIntegerToFloatFusion;MatMulScaleFusion;"
    "MatmulTransposeFusion;QDQFinalCleanupTransformer;QDQSelectorActionTransformer;QuickGeluFusion;"
    "SimplifiedLayerNormFusion;SkipLayerNormFusion";

class OnnxRuntimeSession : public Session {
 public:
  OnnxRuntimeSession(const std::string& path, const bundle::EngineRecord& engine,
                     const SessionOptions& options)
      : library_(Library::open(options.library)),
        graph_(engine.graph),
        longest_(options.longest),
        shrink_arena_(options.shrink_arena),
        cuts_(can_cut(engine.graph)),
        session_(library_),
        memory_(library_) {
    check_types(path, graph_);
    start(path, options, saturates(engine.processor, detect_processor()));
    check_names<SessionGetInputCount, SessionGetInputName>(path, "inputs", graph_.inputs);
    check_names<SessionGetOutputCount, SessionGetOutputName>(path, "outputs", graph_.outputs);
    const Failure failure =
        library_.call<CreateCpuMemoryInfo>(AllocatorType::arena, MemoryType::standard, memory_.out());
    if (failure) throw TargetError("engine onnxruntime cannot start", {"", failure.text});
  }

  Outputs run(const Feeds& feeds) const override {
    check_feeds(graph_.inputs, feeds, longest_);
    const std::vector<Feeds> pieces = cuts_ ? cut_feeds(graph_, feeds) : std::vector<Feeds>();
    if (pieces.empty()) return run_piece(feeds);
    std::vector<Outputs> outputs;
    for (const Feeds& piece : pieces) outputs.push_back(run_piece(piece));
    return join_outputs(std::move(outputs));
  }

  void run_into(const Feeds& feeds, Outputs& outputs) const override {
    const std::map<std::string, std::int64_t> sizes = check_feeds(graph_.inputs, feeds, longest_);
    std::vector<OwnedValue> values;
    for (const bundle::TensorSpec& spec : graph_.outputs) {
      Output& output = outputs[spec.name];
      output.shape.clear();
      std::size_t count = 1;
      for (const auto& axis : spec.shape) {
        const auto* const name = std::get_if<std::string>(&axis);
        const auto found = name == nullptr ? sizes.end() : sizes.find(*name);
        if (name != nullptr && found == sizes.end()) return Session::run_into(feeds, outputs);
        output.shape.push_back(name == nullptr ? std::get<std::int64_t>(axis) : found->second);
        count *= static_cast<std::size_t>(output.shape.back());
      }
      output.numbers.resize(count);
      values.push_back(wrap(output.numbers.data(), count * sizeof(float), output.shape,
                            ElementType::float32));
    }
    run_graph(feeds, values);
  }

 private:
  Outputs run_piece(const Feeds& feeds) const {
    std::vector<OwnedValue> values;
    for (std::size_t index = 0; index < graph_.outputs.size(); ++index) {
      values.emplace_back(library_);
    }
    run_graph(feeds, values);
    Outputs outputs;
    for (std::size_t index = 0; index < values.size(); ++index) {
      const std::string& name = graph_.outputs[index].name;
      outputs.emplace(name, read(values[index], name.c_str()));
    }
    return outputs;
  }

  // Computes the outputs where they lie, or where the engine puts them.
  void run_graph(const Feeds& feeds, std::vector<OwnedValue>& outputs) const {
    std::vector<OwnedValue> values;
    std::vector<const char*> input_names;
    std::vector<const Value*> inputs;
    for (const bundle::TensorSpec& spec : graph_.inputs) {
      values.push_back(wrap(feeds.at(spec.name), holds_floats(spec)));
      input_names.push_back(spec.name.c_str());
      inputs.push_back(values.back().get());
    }
    std::vector<const char*> output_names;
    for (const bundle::TensorSpec& spec : graph_.outputs) output_names.push_back(spec.name.c_str());
    std::vector<Value*> given;
    for (const OwnedValue& output : outputs) given.push_back(output.get());
    const OwnedRunOptions run_options = make_run_options();
    const Failure failure = library_.call<Run>(session_.get(), run_options.get(),
                                               input_names.data(), inputs.data(), inputs.size(),
                                               output_names.data(), given.size(), given.data());
    for (std::size_t index = 0; index < given.size(); ++index) {
      *outputs[index].out() = given[index];
    }
    if (failure) {
      throw InputError("feeds make the graph fail",
                       {"ids within the vocabulary, types and positions of the model",
                        failure.text});
    }
  }

  // Starts ONNX Runtime so that it keeps the form of the graph, which was measured fastest: only its
  // basic level runs, and of its extended level the one pass that keeps products from saturating.
  void start(const std::string& path, const SessionOptions& options, bool unsaturated) {
    OwnedSessionOptions own(library_);
    const auto set = [&](const Failure& failure) {
      if (failure) throw TargetError("engine onnxruntime cannot start", {"", failure.text});
    };
    const auto configure = [&](const char* key, const char* value) {
      set(library_.call<AddSessionConfigEntry>(own.get(), key, value));
    };
    set(library_.call<CreateSessionOptions>(own.out()));
    set(library_.call<SetSessionLogSeverityLevel>(own.get(), LoggingLevel::fatal));
    set(library_.call<SetSessionGraphOptimizationLevel>(
        own.get(), unsaturated ? OptimizationLevel::extended : OptimizationLevel::basic));
    if (unsaturated) {
      configure("session.x64quantprecision", "1");
      configure("optimization.disable_specified_optimizers", fusions);
    }
    if (options.threads != 0) {
      set(library_.call<SetIntraOpNumThreads>(own.get(), options.threads));
    }
    if (!options.spinning) configure("session.intra_op.allow_spinning", "0");
    const Failure failure =
        library_.call<CreateSession>(library_.env(), path.c_str(), own.get(), session_.out());
    if (failure) {
      throw BundleError("graph " + path + " cannot be opened by onnxruntime " + library_.version(),
                        {"a readable ONNX graph", failure.text, "Export the bundle again"});
    }
  }

  // Compares the graph's names with the manifest's, in their order.
  template <typename Count, typename Name>
  void check_names(const std::string& path, const char* what,
                   const std::vector<bundle::TensorSpec>& specs) const {
    std::size_t count = 0;
    Allocator* allocator = nullptr;
    Failure failure = library_.call<Count>(session_.get(), &count);
    if (!failure) failure = library_.call<GetAllocatorWithDefaultOptions>(&allocator);
    std::string found;
    for (std::size_t index = 0; index < count && !failure; ++index) {
      char* name = nullptr;
      failure = library_.call<Name>(session_.get(), index, allocator, &name);
      if (failure) break;
      found += (found.empty() ? "" : ", ") + std::string(name);
      failure = library_.call<AllocatorFree>(allocator, name);
    }
    if (failure) throw TargetError("engine onnxruntime cannot start", {"", failure.text});
    std::string expected;
    for (const bundle::TensorSpec& spec : specs) {
      expected += (expected.empty() ? "" : ", ") + spec.name;
    }
    if (found != expected) {
      throw BundleError("graph " + path + " has other " + what + " than the manifest",
                        {expected, found, "Export the bundle again"});
    }
  }

  // The engine reads the feed's own memory, which outlives the run.
  OwnedValue wrap(const Feed& feed, bool floats) const {
    return floats ? wrap(const_cast<float*>(feed.floats.data()), feed.floats.size() * sizeof(float),
                         feed.shape, ElementType::float32)
                  : wrap(const_cast<std::int64_t*>(feed.numbers.data()),
                         feed.numbers.size() * sizeof(std::int64_t), feed.shape, ElementType::int64);
  }

  OwnedValue wrap(void* data, std::size_t bytes, const Shape& shape, ElementType type) const {
    OwnedValue value(library_);
    const Failure failure = library_.call<CreateTensorWithDataAsOrtValue>(
        memory_.get(), data, bytes, shape.data(), shape.size(), type, value.out());
    if (failure) throw InputError("feeds are wrong", {"", failure.text});
    return value;
  }

  OwnedRunOptions make_run_options() const {
    OwnedRunOptions options(library_);
    if (!shrink_arena_) return options;
    Failure failure = library_.call<CreateRunOptions>(options.out());
    if (!failure) {
      failure = library_.call<AddRunConfigEntry>(
          options.get(), "memory.enable_memory_arena_shrinkage", "cpu:0");
    }
    if (failure) throw TargetError("engine onnxruntime cannot shrink its memory", {"", failure.text});
    return options;
  }

  Output read(const OwnedValue& value, const char* name) const {
    Output output;
    OwnedTensorInfo info(library_);
    ElementType type{};
    std::size_t rank = 0;
    Failure failure = library_.call<GetTensorTypeAndShape>(value.get(), info.out());
    if (!failure) failure = library_.call<GetTensorElementType>(info.get(), &type);
    if (!failure) failure = library_.call<GetDimensionsCount>(info.get(), &rank);
    output.shape.resize(rank);
    if (!failure) failure = library_.call<GetDimensions>(info.get(), output.shape.data(), rank);
    void* data = nullptr;
    if (!failure) failure = library_.call<GetTensorMutableData>(value.get(), &data);
    if (!failure && type != ElementType::float32) failure.text = "numbers that are no float32";
    if (failure) {
      throw TargetError(std::string("output ") + name + " cannot be read", {"", failure.text});
    }
    std::size_t count = 1;
    for (const std::int64_t size : output.shape) count *= static_cast<std::size_t>(size);
    const auto* const numbers = static_cast<const float*>(data);
    output.numbers.assign(numbers, numbers + count);
    return output;
  }

  const Library& library_;
  bundle::GraphRecord graph_;
  std::optional<std::int64_t> longest_;
  bool shrink_arena_;
  // Whether large batches run in pieces.
  bool cuts_;
  OwnedSession session_;
  OwnedMemoryInfo memory_;
};

}  // namespace
}  // namespace onnxruntime

std::unique_ptr<Session> open_onnxruntime(const std::string& folder,
                                          const bundle::EngineRecord& engine,
                                          const SessionOptions& options) {
  check_threads(options.threads);
  return std::make_unique<onnxruntime::OnnxRuntimeSession>(folder + "/" + engine.graph.file, engine,
                                                           options);
}

}  // namespace bert_export::sessions
