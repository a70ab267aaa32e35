#include "bundle/manifest.hpp"

#include <algorithm>

#include "bert_export/errors.hpp"
#include "bundle/files.hpp"
#include "text/printing.hpp"

namespace bert_export::bundle {
namespace {

using text::Json;
using text::JsonError;

constexpr const char* manifest_name = "manifest.json";
constexpr const char* export_again = "Export the bundle again";

std::string read_text(const std::string& folder) {
  const std::string path = folder + "/" + manifest_name;
  if (!is_file(path)) {
    throw BundleError("bundle " + folder + " has no " + manifest_name,
                      {"a folder written by bert-export",
                       is_folder(folder) ? "a folder without it" : "no such folder"});
  }
  std::string text;
  const std::string wrong =
      read_chunks(path, [&](std::string_view chunk) { text.append(chunk); });
  if (!wrong.empty()) {
    throw BundleError("bundle " + folder + " file " + manifest_name + " cannot be read",
                      {"a readable file", wrong});
  }
  return text;
}

// A member that may be missing or null.
const Json* find_present(const Json& json, std::string_view key) {
  const Json* const found = json.find(key);
  return found == nullptr || found->is_null() ? nullptr : found;
}

std::optional<std::string> optional_string(const Json& json, std::string_view key) {
  const Json* const found = find_present(json, key);
  if (found == nullptr) return std::nullopt;
  return found->string(key);
}

std::vector<std::string> read_strings(const Json& json, std::string_view name) {
  std::vector<std::string> strings;
  for (const Json& item : json.array(name)) strings.push_back(item.string(name));
  return strings;
}

GraphRecord read_graph(const Json& json) {
  GraphRecord graph;
  graph.file = json.at("file").string("a graph's file");
  for (const Json& tensor : json.at("inputs").array("inputs")) {
    graph.inputs.push_back(read_tensor(tensor));
  }
  for (const Json& tensor : json.at("outputs").array("outputs")) {
    graph.outputs.push_back(read_tensor(tensor));
  }
  if (const Json* const longest = find_present(json, "longest")) {
    graph.longest = longest->integer("longest");
  }
  if (const Json* const encoder = find_present(json, "encoder")) {
    graph.encoder = std::make_shared<const GraphRecord>(read_graph(*encoder));
  }
  return graph;
}

// The least, usual and largest size of an axis.
Range read_range(const Json& json) {
  const std::vector<Json>& sizes = json.array("an axis's sizes");
  if (sizes.size() != 3) throw JsonError("an axis has other sizes than three");
  return {sizes.front().integer("a size"), sizes.back().integer("a size")};
}

BuiltRecord read_built(const Json& json) {
  BuiltRecord built;
  built.file = json.at("file").string("an engine's file");
  for (const Json& profile : json.at("profiles").array("profiles")) {
    Profile& ranges = built.profiles.emplace_back();
    for (const auto& [axis, sizes] : profile.object("a profile")) {
      ranges.emplace(axis, read_range(sizes));
    }
  }
  return built;
}

EngineRecord read_engine(const Json& json, std::string target) {
  EngineRecord engine;
  engine.target = std::move(target);
  engine.precision = json.at("precision").string("a precision");
  engine.graph = read_graph(json.at("graph"));
  engine.verified = find_present(json, "parity") != nullptr;
  if (const Json* const plan = find_present(json, "quantization")) {
    engine.processor = optional_string(*plan, "processor");
  }
  if (const Json* const build = find_present(json, "build")) {
    if (const Json* const built = find_present(*build, "engine")) {
      engine.built = read_built(*built);
    }
  }
  return engine;
}

// Version 1 had one graph a bundle, at the top, and it was always ONNX Runtime's.
void read_engines(const Json& json, Manifest& manifest) {
  if (manifest.schema_version == 1) {
    manifest.default_target = "onnxruntime";
    manifest.engines.push_back(read_engine(json, manifest.default_target));
    EngineRecord& engine = manifest.engines.back();
    const bool quantized = find_present(json, "quantization") != nullptr;
    if (quantized && !engine.processor) engine.processor = "x86-64-vnni";
    return;
  }
  manifest.default_target = json.at("default_target").string("default_target");
  manifest.timed = find_present(json, "auto_target") != nullptr;
  for (const Json& engine : json.at("engines").array("engines")) {
    manifest.engines.push_back(read_engine(engine, engine.at("target").string("a target")));
  }
}

Manifest read_fields(const Json& json, std::int64_t version) {
  Manifest manifest{};
  manifest.schema_version = version;
  manifest.task = json.at("task").string("task");
  manifest.labels = read_strings(json.at("labels"), "labels");
  manifest.max_position_embeddings =
      json.at("model").at("max_position_embeddings").integer("max_position_embeddings");
  manifest.vocab_size = json.at("model").at("vocab_size").integer("vocab_size");
  manifest.tokenizer = read_tokenizer(json.at("tokenizer"));
  json.at("postprocessing").object("postprocessing");
  manifest.postprocessing = json.at("postprocessing");
  read_engines(json, manifest);
  for (const auto& [name, file] : json.at("files").object("files")) {
    manifest.files.emplace_back(name, FileRecord{file.at("bytes").integer("bytes"),
                                                 file.at("sha256").string("sha256")});
  }
  return manifest;
}

BundleError malformed(const std::string& folder, const std::string& expected,
                      const JsonError& error) {
  return BundleError("bundle " + folder + " has a malformed " + manifest_name,
                     {expected, error.what(), export_again});
}

Manifest parse(const std::string& folder, const std::string& text) {
  Json json;
  std::int64_t version = 0;
  try {
    json = Json::parse(text);
    version = json.at("schema_version").integer("schema_version");
  } catch (const JsonError& error) {
    throw malformed(folder, "JSON with a schema_version", error);
  }
  if (version < oldest_version || version > schema_version) {
    throw BundleError("bundle " + folder + " has another schema version",
                      {std::to_string(oldest_version) + " to " + std::to_string(schema_version),
                       std::to_string(version),
                       version > schema_version ? "Upgrade bert-export" : export_again});
  }
  try {
    return read_fields(json, version);
  } catch (const JsonError& error) {
    throw malformed(folder, "schema version " + std::to_string(version), error);
  }
}

void check_name(const std::string& folder, const std::string& name) {
  const bool plain = !name.empty() && name != "." && name != ".." &&
                     name.find('/') == name.npos && name.find('\0') == name.npos;
  if (!plain) {
    throw BundleError("bundle " + folder + " names a file outside its folder",
                      {"a plain name", text::shown(name)});
  }
}

// Rows and labels are those of the model, or answers would be wrong far from here.
void check_sizes(const std::string& folder, const Manifest& manifest) {
  const std::int64_t longest = manifest.max_position_embeddings;
  if (manifest.tokenizer.max_length < 2 || manifest.tokenizer.max_length > longest) {
    throw BundleError("bundle " + folder + " has rows of a length that its model does not take",
                      {"a max_length of 2 to " + std::to_string(longest),
                       std::to_string(manifest.tokenizer.max_length), export_again});
  }
  for (const EngineRecord& engine : manifest.engines) {
    for (const TensorSpec& output : engine.graph.outputs) {
      if (output.name != "logits" || output.shape.empty() || manifest.labels.empty()) continue;
      const auto* const scored = std::get_if<std::int64_t>(&output.shape.back());
      if (scored != nullptr && *scored != static_cast<std::int64_t>(manifest.labels.size())) {
        throw BundleError(
            "bundle " + folder + " has other labels than its graph for " + engine.target,
            {std::to_string(*scored) + " labels", std::to_string(manifest.labels.size()),
             export_again});
      }
    }
  }
}

}  // namespace

TensorSpec read_tensor(const Json& json) {
  TensorSpec tensor;
  tensor.name = json.at("name").string("a tensor's name");
  tensor.dtype = json.at("dtype").string("a tensor's dtype");
  for (const Json& axis : json.at("shape").array("a tensor's shape")) {
    if (axis.is_string()) {
      tensor.shape.emplace_back(axis.string("an axis"));
    } else {
      tensor.shape.emplace_back(axis.integer("an axis"));
    }
  }
  if (const Json* const below = find_present(json, "below")) tensor.below = below->integer("below");
  return tensor;
}

TokenizerRecord read_tokenizer(const Json& json) {
  TokenizerRecord record;
  record.file = json.at("file").string("the tokenizer's file");
  record.max_length = json.at("max_length").integer("max_length");
  const std::pair<const char*, std::string*> tokens[] = {{"cls_token", &record.cls_token},
                                                         {"sep_token", &record.sep_token},
                                                         {"pad_token", &record.pad_token},
                                                         {"mask_token", &record.mask_token},
                                                         {"unk_token", &record.unk_token}};
  for (const auto& [name, token] : tokens) {
    if (const Json* const found = json.find(name)) *token = found->string(name);
  }
  if (const Json* const cleans = json.find("clean_up_tokenization_spaces")) {
    record.clean_up_tokenization_spaces = cleans->boolean("clean_up_tokenization_spaces");
  }
  if (const Json* const types = json.find("token_types")) {
    record.token_types = types->boolean("token_types");
  }
  if (const Json* const side = json.find("truncation_side")) {
    const std::string& name = side->string("truncation_side");
    if (name != "right" && name != "left") throw JsonError("truncation_side is " + name);
    record.truncation_side = name == "left" ? Side::left : Side::right;
  }
  return record;
}

const EngineRecord& Manifest::engine(const std::optional<std::string>& target) const {
  const std::string& wanted = target ? *target : default_target;
  const auto found =
      std::find_if(engines.begin(), engines.end(),
                   [&](const EngineRecord& engine) { return engine.target == wanted; });
  if (found != engines.end()) return *found;
  std::string served;
  for (const EngineRecord& engine : engines) {
    served += (served.empty() ? "" : " or ") + engine.target;
  }
  throw BundleError("bundle does not serve the target " + wanted,
                    {served, wanted, "Export it with --target " + wanted});
}

Manifest read_manifest(const std::string& folder) {
  return parse_manifest(folder, read_text(folder));
}

Manifest parse_manifest(const std::string& folder, const std::string& text) {
  Manifest manifest = parse(folder, text);
  check_name(folder, manifest.tokenizer.file);
  for (const EngineRecord& engine : manifest.engines) {
    for (const GraphRecord* graph = &engine.graph; graph != nullptr; graph = graph->encoder.get()) {
      check_name(folder, graph->file);
    }
    if (engine.built) check_name(folder, engine.built->file);
  }
  for (const auto& [name, file] : manifest.files) check_name(folder, name);
  manifest.engine();
  check_sizes(folder, manifest);
  return manifest;
}

}  // namespace bert_export::bundle
