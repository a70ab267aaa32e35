// OpenVINO's C interface, as far as it is used; no header of the library is needed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "sessions/owned.hpp"
#include "sessions/session.hpp"

namespace bert_export::sessions::openvino {

// Opaque objects of the library.
struct Core;
struct Model;
struct CompiledModel;
struct InferRequest;
struct Tensor;

enum class Status : int { ok = 0 };
enum class ElementType : int { float32 = 4, int64 = 10 };

// A shape; where the library gives it, its sizes are the library's.
struct Sizes {
  std::int64_t rank;
  std::int64_t* sizes;
};

// From the least to the most that an axis may have; -1 stands for any.
struct Dimension {
  std::int64_t least;
  std::int64_t most;
};

// As a shape, with a range for each axis.
struct PartialShape {
  Dimension rank;
  Dimension* sizes;
};

struct Version {
  const char* build;
  const char* description;
};

// The functions that are used, by their names in the library.
struct Functions {
  const char* (*ov_get_last_err_msg)();
  const char* (*ov_get_error_info)(Status);
  void (*ov_free)(const char*);
  Status (*ov_get_openvino_version)(Version*);
  void (*ov_version_free)(Version*);
  Status (*ov_core_create)(Core**);
  Status (*ov_core_get_property)(const Core*, const char*, const char*, char**);
  Status (*ov_core_read_model)(const Core*, const char*, const char*, Model**);
  Status (*ov_core_compile_model)(const Core*, const Model*, const char*, std::size_t,
                                  CompiledModel**, ...);
  Status (*ov_core_compile_model_from_file)(const Core*, const char*, const char*, std::size_t,
                                            CompiledModel**, ...);
  void (*ov_core_free)(Core*);
  Status (*ov_model_reshape)(const Model*, const char**, const PartialShape*, std::size_t);
  void (*ov_model_free)(Model*);
  Status (*ov_compiled_model_get_property)(const CompiledModel*, const char*, char**);
  Status (*ov_compiled_model_create_infer_request)(const CompiledModel*, InferRequest**);
  void (*ov_compiled_model_free)(CompiledModel*);
  Status (*ov_infer_request_set_tensor)(InferRequest*, const char*, const Tensor*);
  Status (*ov_infer_request_infer)(InferRequest*);
  Status (*ov_infer_request_get_tensor)(const InferRequest*, const char*, Tensor**);
  void (*ov_infer_request_free)(InferRequest*);
  Status (*ov_tensor_create_from_host_ptr)(ElementType, Sizes, void*, Tensor**);
  Status (*ov_tensor_get_shape)(const Tensor*, Sizes*);
  Status (*ov_tensor_get_element_type)(const Tensor*, ElementType*);
  Status (*ov_tensor_data)(const Tensor*, void**);
  void (*ov_tensor_free)(Tensor*);
  Status (*ov_shape_free)(Sizes*);
};

// An opened library, which lives until the process ends.
class Library {
 public:
  // Opens it, or gives the one that is open already. Throws TargetError where there is none, or it
  // is too old.
  static const Library& open(const std::string& asked);

  const Functions* operator->() const { return &functions_; }
  const std::string& version() const { return version_; }

  // What a function's status says.
  Failure failure_of(Status status) const;
  // A string of the library, which is freed.
  std::string take(char* text) const;

 private:
  explicit Library(const std::string& asked);

  Functions functions_{};
  std::string version_;
};

// How an object of the library is freed.
template <auto Free>
struct FreedBy {
  template <typename Object>
  void operator()(const Library& library, Object* object) const {
    (library.operator->()->*Free)(object);
  }
};

template <typename Object, void (*Functions::*Free)(Object*)>
using Owned = sessions::Owned<Library, Object, FreedBy<Free>>;

using OwnedCore = Owned<Core, &Functions::ov_core_free>;
using OwnedModel = Owned<Model, &Functions::ov_model_free>;
using OwnedCompiledModel = Owned<CompiledModel, &Functions::ov_compiled_model_free>;
using OwnedRequest = Owned<InferRequest, &Functions::ov_infer_request_free>;
using OwnedTensor = Owned<Tensor, &Functions::ov_tensor_free>;

}  // namespace bert_export::sessions::openvino
