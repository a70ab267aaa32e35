#include "calls/request.hpp"

#include "text/json_writer.hpp"
#include "text/printing.hpp"

namespace bert_export::calls {

using text::Json;

std::string type_of(const Json& value) {
  if (value.is_null()) return "NoneType";
  if (value.is_boolean()) return "bool";
  if (value.is_string()) return "str";
  if (value.is_array()) return "list";
  if (value.is_object()) return "dict";
  return value.is_integer() ? "int" : "float";
}

std::string shown(const Json& value) {
  if (value.is_null()) return "None";
  if (value.is_boolean()) return value.boolean("") ? "True" : "False";
  if (value.is_string()) return text::shown(value.string(""));
  if (value.is_array()) return "a list";
  if (value.is_object()) return "a mapping";
  if (value.is_integer()) return std::to_string(value.integer(""));
  return text::shown(value.number(""));
}

const std::string& check_text(const Json& value, const char* name) {
  if (value.is_string()) return value.string(name);
  throw InputError(std::string(name) + " is of the wrong type", {"a string", type_of(value)});
}

const Json& field(const Json& record, const char* name) {
  const std::string expected = "a mapping with '" + std::string(name) + "'";
  if (!record.is_object()) {
    throw InputError("item is of the wrong type", {expected, type_of(record)});
  }
  if (const Json* const found = record.find(name)) return *found;
  std::string names;
  for (const auto& [key, value] : record.object("item")) {
    names += (names.empty() ? "" : ", ") + text::shown(key);
  }
  throw InputError("item lacks '" + std::string(name) + "'",
                   {expected, names.empty() ? "an empty mapping" : names});
}

Request::Request(const Json& json, std::initializer_list<const char*> known) : json_(json) {
  if (!json.is_object()) {
    throw InputError("call is of the wrong type", {"an object of JSON", type_of(json)});
  }
  for (const auto& [name, value] : json.object("call")) {
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    std::string names;
    for (const char* const one : known) names += (names.empty() ? "" : ", ") + std::string(one);
    throw InputError("option " + name + " is unknown", {"some of " + names, name});
  }
}

Request Request::for_tokenizer(const Json& json) {
  if (!json.is_object()) {
    throw InputError("options of the tokenizer are wrong", {"a mapping of options", shown(json)});
  }
  for (const auto& [name, value] : json.object("options")) {
    if (name == "truncation" || name == "max_length" || name == "add_special_tokens") continue;
    throw InputError("tokenizer option " + text::shown(name) + " is unknown",
                     {"truncation or max_length or add_special_tokens", text::shown(name)});
  }
  return Request(json);
}

const Json* Request::find(const char* name) const {
  const Json* const found = json_.find(name);
  return found == nullptr || found->is_null() ? nullptr : found;
}

bool Request::is_null(const char* name) const {
  const Json* const found = json_.find(name);
  return found != nullptr && found->is_null();
}

std::optional<bool> Request::flag(const char* name) const {
  const Json* const found = find(name);
  if (found == nullptr) return std::nullopt;
  if (found->is_boolean()) return found->boolean(name);
  throw InputError(std::string(name) + " is wrong", {"true or false", shown(*found)});
}

std::optional<double> Request::number(const char* name) const {
  const Json* const found = find(name);
  if (found == nullptr) return std::nullopt;
  if (type_of(*found) == "int" || type_of(*found) == "float") return found->number(name);
  throw InputError(std::string(name) + " is wrong", {"a number", shown(*found)});
}

std::optional<std::string> Request::string(const char* name) const {
  const Json* const found = find(name);
  if (found == nullptr) return std::nullopt;
  return check_text(*found, name);
}

std::optional<std::vector<std::string>> Request::strings(const char* name, const char* item) const {
  const Json* const found = find(name);
  if (found == nullptr) return std::nullopt;
  if (found->is_string()) return std::vector<std::string>{found->string(name)};
  if (!found->is_array()) {
    throw InputError(std::string(name) + " are of the wrong type",
                     {"a list of strings", type_of(*found)});
  }
  std::vector<std::string> strings;
  for (const Json& one : found->array(name)) strings.push_back(check_text(one, item));
  return strings;
}

std::optional<std::int64_t> Request::whole_number(const char* name, std::int64_t least,
                                                  const std::string& expected) const {
  const Json* const found = find(name);
  if (found == nullptr) return std::nullopt;
  if (found->is_integer() && found->integer(name) >= least) return found->integer(name);
  throw InputError(
      std::string(name) + " is wrong",
      {expected.empty() ? "a whole number, at least " + std::to_string(least) : expected,
       shown(*found)});
}

std::optional<Truncation> Request::truncation(const char* name) const {
  const Json* const found = find(name);
  if (found == nullptr) return std::nullopt;
  if (found->is_boolean()) {
    return found->boolean(name) ? Truncation::longest_first : Truncation::none;
  }
  const std::pair<const char*, Truncation> words[] = {{"do_not_truncate", Truncation::none},
                                                      {"longest_first", Truncation::longest_first},
                                                      {"only_first", Truncation::only_first},
                                                      {"only_second", Truncation::only_second}};
  for (const auto& [word, strategy] : words) {
    if (found->is_string() && found->string(name) == word) return strategy;
  }
  throw InputError(
      "truncation is unknown",
      {"true, false, do_not_truncate, longest_first, only_first, only_second", shown(*found)});
}

Items Request::texts(const char* name) const {
  const Json* const found = find(name);
  if (found != nullptr && found->is_string()) return {true, {found}};
  if (found == nullptr || !found->is_array()) {
    throw InputError(
        std::string(name) + " are of the wrong type",
        {"a string or an iterable of strings", found == nullptr ? "nothing" : type_of(*found)});
  }
  Items items;
  for (const Json& one : found->array(name)) items.records.push_back(&one);
  return items;
}

Items Request::records(std::initializer_list<const char*> fields) const {
  const bool named = std::any_of(fields.begin(), fields.end(),
                                 [this](const char* name) { return find(name) != nullptr; });
  std::string names;
  for (const char* const name : fields) names += (names.empty() ? "" : " and ") + std::string(name);
  const Json* const found = find("inputs");
  if (named && found != nullptr) {
    throw InputError("inputs are given twice", {"records, or " + names, "both"});
  }
  if (named) return {true, {&json_}};
  if (found != nullptr && found->is_object()) return {true, {found}};
  if (found == nullptr || !found->is_array()) {
    throw InputError("inputs are of the wrong type",
                     {names + ", or an iterable of mappings with them",
                      found == nullptr ? "nothing" : type_of(*found)});
  }
  Items items;
  for (const Json& one : found->array("inputs")) items.records.push_back(&one);
  return items;
}

}  // namespace bert_export::calls
