// Manifests that no bundle should have.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "bert_export/errors.hpp"
#include "bundle/manifest.hpp"
#include "check.hpp"

using bert_export::BundleError;

namespace {

// A manifest of the newest version, with what only an export or a report reads.
constexpr std::string_view small = R"({"schema_version": 3, "task": "text-classification",
 "labels": ["a", "b"], "model": {"max_position_embeddings": 32, "vocab_size": 9}, "assumptions": ["one"],
 "request": {"task": "text-classification", "targets": ["onnxruntime"], "nested": {"a": [1.5, null]}},
 "stages": [{"name": "trace", "seconds": 0.5}],
 "tokenizer": {"file": "tokenizer.json", "max_length": 32, "token_types": false},
 "postprocessing": {"top_k": 1, "entailment_id": 1}, "default_target": "onnxruntime",
 "engines": [{"target": "onnxruntime", "precision": "fp32",
  "graph": {"file": "model.onnx", "inputs": [{"name": "input_ids", "dtype": "int64", "shape": ["batch", "sequence"]}],
            "outputs": [{"name": "logits", "dtype": "float32", "shape": ["batch", 2]}]}}],
 "files": {"model.onnx": {"bytes": 1, "sha256": "0"}}})";

// A folder with a manifest, gone with it.
class Folder {
 public:
  explicit Folder(std::string_view manifest) {
    char pattern[] = "/tmp/bert_export_XXXXXX";
    if (mkdtemp(pattern) == nullptr) tests::fail(__FILE__, __LINE__, "no folder was made");
    path_ = pattern;
    std::ofstream(path_ + "/manifest.json", std::ios::binary) << manifest;
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder() {
    std::remove((path_ + "/manifest.json").c_str());
    rmdir(path_.c_str());
  }

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

std::string refusal(std::string_view manifest) {
  const Folder folder(manifest);
  return tests::message_of<BundleError>([&] { bert_export::bundle::read_manifest(folder.path()); });
}

std::string with(std::string_view from, std::string_view to) {
  std::string json(small);
  const std::size_t place = json.find(from);
  if (place == std::string::npos)
    tests::fail(__FILE__, __LINE__, "the text is not in the manifest");
  return json.replace(place, from.size(), to);
}

bool has(const std::string& message, const char* part) {
  return message.find(part) != std::string::npos;
}

}  // namespace

TEST(a_manifest_cut_at_every_byte_is_refused) {
  for (std::size_t size = 0; size < small.size(); ++size) {
    CHECK(has(refusal(small.substr(0, size)), "has a malformed manifest.json"));
  }
}

TEST(a_manifest_with_newer_fields_is_read) {
  const Folder folder(small);
  const bert_export::bundle::Manifest manifest = bert_export::bundle::read_manifest(folder.path());
  CHECK(!manifest.tokenizer.token_types);
  CHECK_EQUAL(manifest.postprocessing.at("entailment_id").integer("id"), 1);
}

TEST(a_manifest_with_deep_nesting_is_refused) {
  const std::string deep = std::string(10'000, '[') + std::string(10'000, ']');
  CHECK(has(refusal(with("[\"one\"]", deep)), "has a malformed manifest.json"));
}

TEST(a_manifest_with_huge_numbers_is_refused) {
  for (const char* const number : {"99999999999999999999", "1e400", "-1", "0.5", "1e18"}) {
    CHECK(!has(refusal(with("\"max_length\": 32", std::string("\"max_length\": ") + number)),
               "nothing was thrown"));
  }
  CHECK(has(refusal(with("\"schema_version\": 3", "\"schema_version\": 99999999999999999999")),
            "has a malformed manifest.json"));
}

TEST(a_manifest_that_names_files_outside_is_refused) {
  for (const char* const name :
       {"../model.onnx", "..", ".", "", "/etc/passwd", "a/b", "a\\u0000b"}) {
    for (const char* const place : {"\"file\": \"model.onnx\"", "\"file\": \"tokenizer.json\""}) {
      CHECK(has(refusal(with(place, std::string("\"file\": \"") + name + "\"")),
                "names a file outside its folder"));
    }
    CHECK(has(refusal(with("{\"model.onnx\": {", std::string("{\"") + name + "\": {")),
              "names a file outside its folder"));
  }
}
