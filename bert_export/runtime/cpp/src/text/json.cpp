#include "text/json.hpp"

#include <algorithm>
#include <charconv>
#include <unordered_set>

#include "text/utf8.hpp"

namespace bert_export::text {
namespace {

constexpr int deepest = 100;
// Up to here a repeated key is looked for without a set.
constexpr std::size_t few_members = 8;

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Json document() {
    if (const auto invalid = find_invalid(text_)) {
      place_ = *invalid;
      fail("a byte that is not UTF-8");
    }
    Json value = read_value(0);
    skip_spaces();
    if (place_ != text_.size()) fail("something behind the value");
    return value;
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw JsonError(what + " at byte " + std::to_string(place_));
  }

  void skip_spaces() {
    while (place_ < text_.size() && std::string_view(" \t\n\r").find(text_[place_]) != text_.npos) {
      ++place_;
    }
  }

  // The byte that is read next; NUL, which no JSON holds outside of strings, behind the end.
  char peek() const { return place_ < text_.size() ? text_[place_] : '\0'; }

  bool take(char expected) {
    if (place_ >= text_.size() || text_[place_] != expected) return false;
    ++place_;
    return true;
  }

  void require(char expected) {
    if (!take(expected)) fail(std::string("no ") + expected);
  }

  Json read_value(int depth) {
    if (depth > deepest) fail("more than " + std::to_string(deepest) + " levels");
    skip_spaces();
    switch (peek()) {
      case '{': return read_object(depth);
      case '[': return read_array(depth);
      case '"': return Json(Json::Value(read_string()));
      case 't': return read_word("true", Json::Value(true));
      case 'f': return read_word("false", Json::Value(false));
      case 'n': return read_word("null", Json::Value(nullptr));
      default: return read_number();
    }
  }

  Json read_word(std::string_view word, Json::Value value) {
    if (text_.substr(place_, word.size()) != word) fail("no value");
    place_ += word.size();
    return Json(std::move(value));
  }

  Json read_object(int depth) {
    require('{');
    JsonObject members;
    std::unordered_set<std::string> keys;
    skip_spaces();
    if (take('}')) return Json(Json::Value(std::move(members)));
    do {
      skip_spaces();
      std::string key = read_string();
      if (is_repeated(members, keys, key)) fail("the key \"" + key + "\" a second time");
      skip_spaces();
      require(':');
      Json value = read_value(depth + 1);
      members.emplace_back(std::move(key), std::move(value));
      skip_spaces();
    } while (take(','));
    require('}');
    return Json(Json::Value(std::move(members)));
  }

  static bool is_repeated(const JsonObject& members, std::unordered_set<std::string>& keys,
                          const std::string& key) {
    if (members.size() < few_members) {
      return std::any_of(members.begin(), members.end(),
                         [&](const auto& member) { return member.first == key; });
    }
    if (keys.empty()) {
      for (const auto& member : members) keys.insert(member.first);
    }
    return !keys.insert(key).second;
  }

  Json read_array(int depth) {
    require('[');
    JsonArray values;
    skip_spaces();
    if (take(']')) return Json(Json::Value(std::move(values)));
    do {
      values.push_back(read_value(depth + 1));
      skip_spaces();
    } while (take(','));
    require(']');
    return Json(Json::Value(std::move(values)));
  }

  std::string read_string() {
    require('"');
    std::string value;
    while (true) {
      // What needs no escape is copied in one piece.
      const std::size_t start = place_;
      while (place_ < text_.size() && text_[place_] != '"' && text_[place_] != '\\' &&
             static_cast<unsigned char>(text_[place_]) >= 0x20) {
        ++place_;
      }
      value.append(text_, start, place_ - start);
      if (take('"')) return value;
      if (!take('\\')) fail(place_ < text_.size() ? "a control character in a string" : "no \"");
      append(value, read_escape());
    }
  }

  char32_t read_escape() {
    const char kind = peek();
    ++place_;
    switch (kind) {
      case '"': return U'"';
      case '\\': return U'\\';
      case '/': return U'/';
      case 'b': return U'\b';
      case 'f': return U'\f';
      case 'n': return U'\n';
      case 'r': return U'\r';
      case 't': return U'\t';
      case 'u': return read_code_point();
      default: --place_; fail("an unknown escape");
    }
  }

  char32_t read_code_point() {
    const char32_t first = read_hex();
    if (first < 0xD800 || first >= 0xE000) return first;
    if (first >= 0xDC00 || !take('\\') || !take('u')) fail("a lone surrogate");
    const char32_t second = read_hex();
    if (second < 0xDC00 || second >= 0xE000) fail("a lone surrogate");
    return 0x10000 + ((first - 0xD800) << 10U) + (second - 0xDC00);
  }

  char32_t read_hex() {
    const std::string_view digits = text_.substr(place_, 4);
    unsigned value = 0;
    const auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
    if (digits.size() != 4 || error != std::errc() || end != digits.data() + 4) {
      fail("no four hexadecimal digits");
    }
    place_ += 4;
    return value;
  }

  std::size_t skip_digits() {
    const std::size_t start = place_;
    while (peek() >= '0' && peek() <= '9') ++place_;
    return place_ - start;
  }

  Json read_number() {
    const std::size_t start = place_;
    take('-');
    const bool leading_zero = peek() == '0';
    const std::size_t digits = skip_digits();
    if (digits == 0) fail("no value");
    if (leading_zero && digits > 1) fail("a number that starts with 0");
    bool whole = true;
    if (take('.')) {
      whole = false;
      if (skip_digits() == 0) fail("no digit");
    }
    if (take('e') || take('E')) {
      whole = false;
      if (!take('+')) take('-');
      if (skip_digits() == 0) fail("no digit");
    }
    const char* const first = text_.data() + start;
    const char* const last = text_.data() + place_;
    if (whole) return Json(Json::Value(convert<std::int64_t>(first, last)));
    return Json(Json::Value(convert<double>(first, last)));
  }

  template <typename Number>
  Number convert(const char* first, const char* last) const {
    Number value{};
    if (std::from_chars(first, last, value).ec != std::errc()) fail("a number out of range");
    return value;
  }

  std::string_view text_;
  std::size_t place_ = 0;
};

template <typename Kind>
const Kind& as(const Json::Value& value, std::string_view name, const char* kind) {
  if (const Kind* const found = std::get_if<Kind>(&value)) return *found;
  throw JsonError(std::string(name) + " is no " + kind);
}

}  // namespace

Json Json::parse(std::string_view text) { return Parser(text).document(); }

bool Json::boolean(std::string_view name) const { return as<bool>(value_, name, "truth value"); }

std::int64_t Json::integer(std::string_view name) const {
  return as<std::int64_t>(value_, name, "whole number");
}

double Json::number(std::string_view name) const {
  if (const auto* const whole = std::get_if<std::int64_t>(&value_)) {
    return static_cast<double>(*whole);
  }
  return as<double>(value_, name, "number");
}

const std::string& Json::string(std::string_view name) const {
  return as<std::string>(value_, name, "text");
}

const JsonArray& Json::array(std::string_view name) const {
  return as<JsonArray>(value_, name, "list");
}

const JsonObject& Json::object(std::string_view name) const {
  return as<JsonObject>(value_, name, "object");
}

const Json* Json::find(std::string_view key) const {
  const auto* const members = std::get_if<JsonObject>(&value_);
  if (members == nullptr) return nullptr;
  const auto found = std::find_if(members->begin(), members->end(),
                                  [&](const auto& member) { return member.first == key; });
  return found == members->end() ? nullptr : &found->second;
}

const Json& Json::at(std::string_view key) const {
  if (const Json* const found = find(key)) return *found;
  throw JsonError("the field " + std::string(key) + " is missing");
}

}  // namespace bert_export::text
