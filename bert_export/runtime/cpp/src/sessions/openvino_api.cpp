#include "sessions/openvino_api.hpp"

#include <dlfcn.h>

#include <cstdlib>
#include <memory>

#include "bert_export/errors.hpp"
#include "sessions/library_search.hpp"
#include "sessions/versions.hpp"
#include "text/printing.hpp"

namespace bert_export::sessions::openvino {
namespace {

constexpr std::size_t longest_message = 400;

const EngineLibrary& engine() {
  static const EngineLibrary library{"openvino", "BERT_EXPORT_OPENVINO", "openvino/libs",
                                     "libopenvino_c.so", {"libopenvino_c.so"}};
  return library;
}

}  // namespace

Library::Library(const std::string& asked) {
  // oneDNN reads it once, when its first kernel is made; by default it keeps 1024, some 6 MB each.
  ::setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "256", 0);
  void* const library = open_library(engine(), asked);
  const auto find = [&](const char* name, auto& function) {
    function = reinterpret_cast<std::decay_t<decltype(function)>>(::dlsym(library, name));
    if (function != nullptr) return;
    throw TargetError("library " + (asked.empty() ? engine().package : asked) + " is another",
                      {std::string("OpenVINO's C interface, ") + oldest_openvino + " or later",
                       std::string("a library without ") + name,
                       std::string("Run: pip install 'openvino>=") + oldest_openvino + "'"});
  };
#define BERT_EXPORT_FIND(name) find(#name, functions_.name)
  BERT_EXPORT_FIND(ov_get_last_err_msg);
  BERT_EXPORT_FIND(ov_get_error_info);
  BERT_EXPORT_FIND(ov_free);
  BERT_EXPORT_FIND(ov_get_openvino_version);
  BERT_EXPORT_FIND(ov_version_free);
  BERT_EXPORT_FIND(ov_core_create);
  BERT_EXPORT_FIND(ov_core_get_property);
  BERT_EXPORT_FIND(ov_core_read_model);
  BERT_EXPORT_FIND(ov_core_compile_model);
  BERT_EXPORT_FIND(ov_core_compile_model_from_file);
  BERT_EXPORT_FIND(ov_core_free);
  BERT_EXPORT_FIND(ov_model_reshape);
  BERT_EXPORT_FIND(ov_model_free);
  BERT_EXPORT_FIND(ov_compiled_model_get_property);
  BERT_EXPORT_FIND(ov_compiled_model_create_infer_request);
  BERT_EXPORT_FIND(ov_compiled_model_free);
  BERT_EXPORT_FIND(ov_infer_request_set_tensor);
  BERT_EXPORT_FIND(ov_infer_request_infer);
  BERT_EXPORT_FIND(ov_infer_request_get_tensor);
  BERT_EXPORT_FIND(ov_infer_request_free);
  BERT_EXPORT_FIND(ov_tensor_create_from_host_ptr);
  BERT_EXPORT_FIND(ov_tensor_get_shape);
  BERT_EXPORT_FIND(ov_tensor_get_element_type);
  BERT_EXPORT_FIND(ov_tensor_data);
  BERT_EXPORT_FIND(ov_tensor_free);
  BERT_EXPORT_FIND(ov_shape_free);
#undef BERT_EXPORT_FIND
  Version version{};
  if (const Failure failure = failure_of(functions_.ov_get_openvino_version(&version))) {
    throw TargetError("engine openvino cannot start", {"", failure.text});
  }
  version_ = version.build == nullptr ? "" : version.build;
  functions_.ov_version_free(&version);
  check_version(engine().package, oldest_openvino, version_);
}

const Library& Library::open(const std::string& asked) {
  return opened_once<Library>(asked, [&] { return new Library(asked); });
}

Failure Library::failure_of(Status status) const {
  if (status == Status::ok) return {};
  std::string said = text::one_line(functions_.ov_get_last_err_msg());
  if (said.empty()) said = text::one_line(functions_.ov_get_error_info(status));
  // The beginning names its source files. A cut character is printed as an escape.
  if (said.size() > longest_message) said = "..." + said.substr(said.size() - longest_message);
  return {said.empty() ? "an error without words" : said};
}

std::string Library::take(char* text) const {
  std::string taken = text == nullptr ? "" : text;
  functions_.ov_free(text);
  return taken;
}

}  // namespace bert_export::sessions::openvino
