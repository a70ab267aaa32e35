// ONNX Runtime's C interface, as far as it is used.
//
// It is one table of function pointers that only ever grows at its end, so the places and signatures
// below hold in every release from API version 17 on; no header of the library is needed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "sessions/owned.hpp"
#include "sessions/session.hpp"

namespace bert_export::sessions::onnxruntime {

inline constexpr std::uint32_t api_version = 17;

// Opaque objects of the library.
struct Status;
struct Env;
struct SessionHandle;
struct SessionOptionsHandle;
struct RunOptions;
struct Value;
struct MemoryInfo;
struct Allocator;
struct TensorInfo;

enum class LoggingLevel : int { fatal = 4 };
enum class OptimizationLevel : int { basic = 1, extended = 2 };
enum class ElementType : int { float32 = 1, int64 = 7 };
enum class AllocatorType : int { arena = 1 };
enum class MemoryType : int { standard = 0 };

using Function = void (*)();

// A function of the table: its place, and its signature.
template <std::size_t Place, typename Signature>
struct Entry {
  static constexpr std::size_t place = Place;
  using Pointer = Signature*;
};

using GetErrorMessage = Entry<2, const char*(const Status*)>;
using CreateEnv = Entry<3, Status*(LoggingLevel, const char*, Env**)>;
using DisableTelemetryEvents = Entry<6, Status*(const Env*)>;
using CreateSession =
    Entry<7, Status*(const Env*, const char*, const SessionOptionsHandle*, SessionHandle**)>;
using Run = Entry<9, Status*(SessionHandle*, const RunOptions*, const char* const*,
                             const Value* const*, std::size_t, const char* const*, std::size_t,
                             Value**)>;
using CreateSessionOptions = Entry<10, Status*(SessionOptionsHandle**)>;
using SetSessionLogSeverityLevel = Entry<22, Status*(SessionOptionsHandle*, LoggingLevel)>;
using SetSessionGraphOptimizationLevel =
    Entry<23, Status*(SessionOptionsHandle*, OptimizationLevel)>;
using SetIntraOpNumThreads = Entry<24, Status*(SessionOptionsHandle*, int)>;
using SessionGetInputCount = Entry<30, Status*(const SessionHandle*, std::size_t*)>;
using SessionGetOutputCount = Entry<31, Status*(const SessionHandle*, std::size_t*)>;
using SessionGetInputName =
    Entry<36, Status*(const SessionHandle*, std::size_t, Allocator*, char**)>;
using SessionGetOutputName =
    Entry<37, Status*(const SessionHandle*, std::size_t, Allocator*, char**)>;
using CreateRunOptions = Entry<39, Status*(RunOptions**)>;
using CreateTensorWithDataAsOrtValue =
    Entry<49, Status*(const MemoryInfo*, void*, std::size_t, const std::int64_t*, std::size_t,
                      ElementType, Value**)>;
using GetTensorMutableData = Entry<51, Status*(Value*, void**)>;
using GetTensorElementType = Entry<60, Status*(const TensorInfo*, ElementType*)>;
using GetDimensionsCount = Entry<61, Status*(const TensorInfo*, std::size_t*)>;
using GetDimensions = Entry<62, Status*(const TensorInfo*, std::int64_t*, std::size_t)>;
using GetTensorTypeAndShape = Entry<65, Status*(const Value*, TensorInfo**)>;
using CreateCpuMemoryInfo = Entry<69, Status*(AllocatorType, MemoryType, MemoryInfo**)>;
using AllocatorFree = Entry<76, Status*(Allocator*, void*)>;
using GetAllocatorWithDefaultOptions = Entry<78, Status*(Allocator**)>;
using ReleaseStatus = Entry<93, void(Status*)>;
using ReleaseMemoryInfo = Entry<94, void(MemoryInfo*)>;
using ReleaseSession = Entry<95, void(SessionHandle*)>;
using ReleaseValue = Entry<96, void(Value*)>;
using ReleaseRunOptions = Entry<97, void(RunOptions*)>;
using ReleaseTensorTypeAndShapeInfo = Entry<99, void(TensorInfo*)>;
using ReleaseSessionOptions = Entry<100, void(SessionOptionsHandle*)>;
using AddSessionConfigEntry =
    Entry<130, Status*(SessionOptionsHandle*, const char*, const char*)>;
using AddRunConfigEntry = Entry<165, Status*(RunOptions*, const char*, const char*)>;

// An opened library and its environment, which live until the process ends.
class Library {
 public:
  // Opens it, or gives the one that is open already. Throws TargetError where there is none, or it
  // is too old.
  static const Library& open(const std::string& asked);

  template <typename Function>
  typename Function::Pointer function() const {
    return reinterpret_cast<typename Function::Pointer>(table_[Function::place]);
  }

  // Calls a function that may fail.
  template <typename Function, typename... Arguments>
  Failure call(Arguments... arguments) const {
    return failure_of(function<Function>()(arguments...));
  }

  const Env* env() const { return env_; }
  const std::string& version() const { return version_; }

 private:
  explicit Library(const std::string& asked);
  Failure failure_of(Status* status) const;

  const Function* table_;
  std::string version_;
  Env* env_ = nullptr;
};

// How an object of the library is released.
template <typename Release>
struct ReleasedBy {
  template <typename Object>
  void operator()(const Library& library, Object* object) const {
    library.function<Release>()(object);
  }
};

template <typename Object, typename Release>
using Owned = sessions::Owned<Library, Object, ReleasedBy<Release>>;

using OwnedValue = Owned<Value, ReleaseValue>;
using OwnedSession = Owned<SessionHandle, ReleaseSession>;
using OwnedSessionOptions = Owned<SessionOptionsHandle, ReleaseSessionOptions>;
using OwnedRunOptions = Owned<RunOptions, ReleaseRunOptions>;
using OwnedMemoryInfo = Owned<MemoryInfo, ReleaseMemoryInfo>;
using OwnedTensorInfo = Owned<TensorInfo, ReleaseTensorTypeAndShapeInfo>;

}  // namespace bert_export::sessions::onnxruntime
