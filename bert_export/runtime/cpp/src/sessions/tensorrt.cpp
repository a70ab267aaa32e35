#include "sessions/tensorrt.hpp"

#include <algorithm>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "bert_export/errors.hpp"
#include "bundle/files.hpp"
#include "sessions/tensorrt_api.hpp"

namespace bert_export::sessions {
namespace {

using namespace tensorrt;  // NOLINT: its names are those of the library that is wrapped

constexpr const char* build_again = "Build it again with bert-export build";
constexpr const char* masked_axis = "masked";
constexpr const char* batch_axis = "batch";

std::size_t size_of(const Shape& shape) {
  std::size_t count = 1;
  for (const std::int64_t size : shape) count *= static_cast<std::size_t>(size);
  return count;
}

nvinfer1::Dims to_dims(const Shape& shape) {
  nvinfer1::Dims dims{};
  dims.nbDims = static_cast<std::int32_t>(shape.size());
  std::copy(shape.begin(), shape.end(), dims.d);
  return dims;
}

std::string joined(const std::vector<std::string>& names) {
  std::string list;
  for (const std::string& name : names) list += (list.empty() ? "" : ", ") + name;
  return list.empty() ? "none" : list;
}

// One execution context, which runs one batch at a time: callers from several threads wait.
class TensorRtSession : public Session {
 public:
  TensorRtSession(const std::string& path, const bundle::EngineRecord& engine,
                  const SessionOptions& options)
      : library_(Library::open(options.library)),
        graph_(engine.graph),
        profiles_(engine.built->profiles),
        longest_(options.longest),
        stream_(library_.cuda()) {
    check_types(path, graph_);
    check_profiles(path);
    start(path);
    check_tensors(path, nvinfer1::TensorIOMode::kINPUT, "inputs", graph_.inputs);
    check_tensors(path, nvinfer1::TensorIOMode::kOUTPUT, "outputs", graph_.outputs);
    for (const auto* const specs : {&graph_.inputs, &graph_.outputs}) {
      for (const bundle::TensorSpec& spec : *specs) buffers_.try_emplace(spec.name, library_.cuda());
    }
  }

  std::optional<std::size_t> max_rows() const override {
    std::int64_t rows = std::numeric_limits<std::int64_t>::max();
    for (const bundle::Profile& profile : profiles_) {
      rows = std::min(rows, profile.at(batch_axis).most);
    }
    return static_cast<std::size_t>(rows);
  }

  Outputs run(const Feeds& feeds) const override {
    std::map<std::string, std::int64_t> sizes = check_feeds(graph_.inputs, feeds, longest_);
    // The engine's axis of masks begins at 1: one is asked for, and taken off again.
    const auto masked = sizes.find(masked_axis);
    const bool unmasked = masked != sizes.end() && masked->second == 0;
    if (unmasked) masked->second = 1;
    const std::int32_t profile = fitting_profile(sizes);

    const std::lock_guard<std::mutex> lock(mutex_);
    if (profile != profile_) {
      require(context_->setOptimizationProfileAsync(profile, stream_.get()));
      profile_ = profile;
    }
    static const Feed one_mask{{1}, {0}};
    for (const bundle::TensorSpec& spec : graph_.inputs) {
      const bool replaced = unmasked && has_axis(spec, masked_axis);
      send(spec, replaced ? one_mask : feeds.at(spec.name));
    }
    std::vector<Output> found;
    for (const bundle::TensorSpec& spec : graph_.outputs) found.push_back(make_room(spec));
    require(context_->enqueueV3(stream_.get()));
    Outputs outputs;
    for (std::size_t index = 0; index < found.size(); ++index) {
      fetch(graph_.outputs[index], found[index]);
    }
    library_.cuda().check(library_.cuda().synchronize(stream_.get()), "run the engine");
    for (std::size_t index = 0; index < found.size(); ++index) {
      const bundle::TensorSpec& spec = graph_.outputs[index];
      if (unmasked && has_axis(spec, masked_axis)) {
        found[index].shape[0] = 0;
        found[index].numbers.clear();
      }
      outputs.emplace(spec.name, std::move(found[index]));
    }
    return outputs;
  }

 private:
  // Every profile has a range for every axis that a feed may have.
  void check_profiles(const std::string& path) const {
    for (const bundle::TensorSpec& spec : graph_.inputs) {
      for (const auto& axis : spec.shape) {
        const auto* const name = std::get_if<std::string>(&axis);
        if (name == nullptr) continue;
        for (const bundle::Profile& profile : profiles_) {
          if (profile.count(*name) != 0) continue;
          throw BundleError("engine " + path + " has a profile without an axis of its inputs",
                            {*name, "none", build_again});
        }
      }
    }
    if (profiles_.empty() || profiles_.front().count(batch_axis) == 0) {
      throw BundleError("engine " + path + " has no profile with rows",
                        {"sizes of " + std::string(batch_axis), "none", build_again});
    }
  }

  void start(const std::string& path) {
    std::string plan;
    const std::string failed = bundle::read_chunks(
        path, [&](std::string_view chunk) { plan.append(chunk); });
    if (!failed.empty()) {
      throw BundleError("engine " + path + " cannot be read", {"a file", failed, build_again});
    }
    engine_.reset(library_.runtime().deserializeCudaEngine(plan.data(), plan.size()));
    if (engine_ != nullptr) context_.reset(engine_->createExecutionContext());
    if (context_ == nullptr) {
      throw TargetError("engine cannot start",
                        {"an NVIDIA GPU that it was built for, and the release that built it",
                         library_.log().take(), "Build it again on this machine with bert-export build"});
    }
  }

  void check_tensors(const std::string& path, nvinfer1::TensorIOMode mode, const char* what,
                     const std::vector<bundle::TensorSpec>& specs) const {
    std::vector<std::string> wanted;
    for (const bundle::TensorSpec& spec : specs) wanted.push_back(spec.name);
    std::vector<std::string> found;
    for (std::int32_t index = 0; index < engine_->getNbIOTensors(); ++index) {
      const char* const name = engine_->getIOTensorName(index);
      if (engine_->getTensorIOMode(name) == mode) found.emplace_back(name);
    }
    std::sort(wanted.begin(), wanted.end());
    std::sort(found.begin(), found.end());
    if (found != wanted) {
      throw BundleError(std::string("engine has other ") + what + " than the manifest says",
                        {joined(wanted), joined(found), build_again});
    }
    for (const bundle::TensorSpec& spec : specs) {
      const bool whole = spec.dtype == "int64";
      const auto type = whole ? nvinfer1::DataType::kINT64 : nvinfer1::DataType::kFLOAT;
      if (engine_->getTensorDataType(spec.name.c_str()) == type) continue;
      throw BundleError("engine " + path + " has a tensor " + spec.name + " of another type",
                        {spec.dtype, "another", build_again});
    }
  }

  static bool has_axis(const bundle::TensorSpec& spec, const char* name) {
    const auto* const axis = std::get_if<std::string>(&spec.shape.at(0));
    return axis != nullptr && *axis == name;
  }

  // The first profile whose ranges hold all sizes.
  std::int32_t fitting_profile(const std::map<std::string, std::int64_t>& sizes) const {
    std::string ranges;
    for (std::size_t index = 0; index < profiles_.size(); ++index) {
      bool fits = true;
      std::string own;
      for (const auto& [axis, size] : sizes) {
        const bundle::Range range = profiles_[index].at(axis);
        fits = fits && range.least <= size && size <= range.most;
        own += (own.empty() ? "" : ", ") + axis + " " + std::to_string(range.least) + " to " +
               std::to_string(range.most);
      }
      if (fits) return static_cast<std::int32_t>(index);
      ranges += (ranges.empty() ? "" : " or ") + own;
    }
    std::string got;
    for (const auto& [axis, size] : sizes) {
      got += (got.empty() ? "" : ", ") + axis + " " + std::to_string(size);
    }
    throw InputError("feeds fit no optimization profile of the engine",
                     {ranges, got, "Build the engine with larger --batch-sizes or --lengths"});
  }

  void require(bool done) const {
    if (done) return;
    throw InputError("feeds make the engine fail",
                     {"ids within the vocabulary, types and positions of the model",
                      library_.log().take()});
  }

  // Copies an input to the GPU, and tells the engine where it is and of what shape. The feed outlives
  // the copy: run waits for the stream.
  void send(const bundle::TensorSpec& spec, const Feed& feed) const {
    const bool cache = holds_floats(spec);
    const void* const data = cache ? static_cast<const void*>(feed.floats.data())
                                   : static_cast<const void*>(feed.numbers.data());
    const std::size_t bytes =
        cache ? feed.floats.size() * sizeof(float) : feed.numbers.size() * sizeof(std::int64_t);
    void* const place = buffers_.at(spec.name).reserve(bytes);
    if (bytes != 0) {
      const Cuda& cuda = library_.cuda();
      cuda.check(cuda.copy(place, data, bytes, cudaMemcpyHostToDevice, stream_.get()),
                 "copy to the GPU");
    }
    require(context_->setInputShape(spec.name.c_str(), to_dims(feed.shape)));
    require(context_->setTensorAddress(spec.name.c_str(), place));
  }

  // An output of the shape that it has for the inputs that were sent, and its place on the GPU.
  Output make_room(const bundle::TensorSpec& spec) const {
    const nvinfer1::Dims dims = context_->getTensorShape(spec.name.c_str());
    Output output;
    if (dims.nbDims >= 0) output.shape.assign(dims.d, dims.d + dims.nbDims);
    const bool known = dims.nbDims >= 0 && std::all_of(output.shape.begin(), output.shape.end(),
                                                       [](std::int64_t size) { return size >= 0; });
    require(known);
    output.numbers.resize(size_of(output.shape));
    void* const place = buffers_.at(spec.name).reserve(output.numbers.size() * sizeof(float));
    require(context_->setTensorAddress(spec.name.c_str(), place));
    return output;
  }

  void fetch(const bundle::TensorSpec& spec, Output& output) const {
    if (output.numbers.empty()) return;
    const Cuda& cuda = library_.cuda();
    cuda.check(cuda.copy(output.numbers.data(), buffers_.at(spec.name).get(),
                         output.numbers.size() * sizeof(float), cudaMemcpyDeviceToHost,
                         stream_.get()),
               "copy from the GPU");
  }

  Library& library_;
  bundle::GraphRecord graph_;
  std::vector<bundle::Profile> profiles_;
  std::optional<std::int64_t> longest_;
  std::unique_ptr<nvinfer1::ICudaEngine> engine_;
  std::unique_ptr<nvinfer1::IExecutionContext> context_;
  // What a run changes: guarded by the mutex.
  mutable std::mutex mutex_;
  mutable std::int32_t profile_ = 0;
  mutable std::map<std::string, DeviceBuffer> buffers_;
  Stream stream_;
};

}  // namespace

const char* tensorrt_target() { return target_name; }

std::unique_ptr<Session> open_tensorrt(const std::string& folder,
                                       const bundle::EngineRecord& engine,
                                       const SessionOptions& options) {
  if (!engine.built) {
    throw TargetError("bundle holds the graph for " + engine.target + ", and no engine",
                      {"an engine that was built", "none",
                       "Run bert-export build with --target " + engine.target});
  }
  return std::make_unique<TensorRtSession>(folder + "/" + engine.built->file, engine, options);
}

}  // namespace bert_export::sessions
