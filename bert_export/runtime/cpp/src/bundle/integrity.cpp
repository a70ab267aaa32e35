#include "bundle/integrity.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "bert_export/errors.hpp"
#include "bundle/files.hpp"
#include "bundle/sha256.hpp"

namespace bert_export::bundle {
namespace {

constexpr const char* copy_again = "Export or copy the bundle again";

void check_listed(const std::string& folder, const Manifest& manifest, const std::string& name) {
  const auto is_it = [&](const auto& file) { return file.first == name; };
  if (std::any_of(manifest.files.begin(), manifest.files.end(), is_it)) return;
  throw BundleError("bundle " + folder + " does not list the file " + name,
                    {"its size and sha256", "none", "Export the bundle again"});
}

void verify_file(const std::string& folder, const std::string& name, const FileRecord& record) {
  Sha256 digest;
  std::int64_t bytes = 0;
  const std::string wrong = read_chunks(folder + "/" + name, [&](std::string_view chunk) {
    digest.update(chunk);
    bytes += static_cast<std::int64_t>(chunk.size());
  });
  if (wrong == std::strerror(ENOENT)) {
    throw BundleError("bundle " + folder + " lacks the file " + name, {"", "", copy_again});
  }
  if (!wrong.empty()) {
    throw BundleError("bundle " + folder + " file " + name + " cannot be read",
                      {"a readable file", wrong});
  }
  if (bytes != record.bytes) {
    throw BundleError("bundle " + folder + " file " + name + " has the wrong size",
                      {std::to_string(record.bytes) + " bytes", std::to_string(bytes) + " bytes",
                       copy_again});
  }
  const std::string found = digest.finish();
  if (found != record.sha256) {
    throw BundleError("bundle " + folder + " file " + name + " has the wrong sha256",
                      {record.sha256, found, copy_again});
  }
}

}  // namespace

void verify_files(const std::string& folder, const Manifest& manifest) {
  check_listed(folder, manifest, manifest.tokenizer.file);
  for (const EngineRecord& engine : manifest.engines) {
    for (const GraphRecord* graph = &engine.graph; graph != nullptr; graph = graph->encoder.get()) {
      check_listed(folder, manifest, graph->file);
    }
    if (engine.built) check_listed(folder, manifest, engine.built->file);
  }
  for (const auto& [name, record] : manifest.files) verify_file(folder, name, record);
}

}  // namespace bert_export::bundle
