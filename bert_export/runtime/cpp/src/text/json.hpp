// A strict reader of JSON (RFC 8259): UTF-8 only, no repeated key, no number out of range, and a
// bound on nesting, so that a hostile file costs an error and no more.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace bert_export::text {

// What is wrong with a file, without its name; the reader of the file says which it is.
class JsonError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class Json;
using JsonArray = std::vector<Json>;
// Members in the order of the file.
using JsonObject = std::vector<std::pair<std::string, Json>>;

class Json {
 public:
  using Value =
      std::variant<std::nullptr_t, bool, std::int64_t, double, std::string, JsonArray, JsonObject>;

  // Throws JsonError where the text is malformed.
  static Json parse(std::string_view text);

  Json() : value_(nullptr) {}
  explicit Json(Value value) : value_(std::move(value)) {}

  bool is_null() const { return std::holds_alternative<std::nullptr_t>(value_); }
  bool is_boolean() const { return std::holds_alternative<bool>(value_); }
  bool is_integer() const { return std::holds_alternative<std::int64_t>(value_); }
  bool is_string() const { return std::holds_alternative<std::string>(value_); }
  bool is_array() const { return std::holds_alternative<JsonArray>(value_); }
  bool is_object() const { return std::holds_alternative<JsonObject>(value_); }

  // The value as what it must be; `name` is what an error calls it. Throw JsonError.
  bool boolean(std::string_view name) const;
  std::int64_t integer(std::string_view name) const;
  // A whole number counts too.
  double number(std::string_view name) const;
  const std::string& string(std::string_view name) const;
  const JsonArray& array(std::string_view name) const;
  const JsonObject& object(std::string_view name) const;

  // The member of a key; nullptr where there is none or this is no object.
  const Json* find(std::string_view key) const;
  // The member of a key; throws JsonError where there is none.
  const Json& at(std::string_view key) const;

 private:
  Value value_;
};

}  // namespace bert_export::text
