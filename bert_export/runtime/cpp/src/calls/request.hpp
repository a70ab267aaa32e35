// A call in JSON: its inputs and its options, under the names of the Python package.
#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bert_export/errors.hpp"
#include "bert_export/tokenizer.hpp"
#include "pipelines/opened_bundle.hpp"
#include "text/json.hpp"

namespace bert_export::calls {

// A value as a message quotes it.
std::string shown(const text::Json& value);

// The name of a value's type in Python.
std::string type_of(const text::Json& value);

// A string. Throws InputError, which names it, where the value is none.
const std::string& check_text(const text::Json& value, const char* name = "text");

// A member of a record. Throws InputError where the value is no record or lacks the member.
const text::Json& field(const text::Json& record, const char* name);

// What a call passes: one item, or several.
struct Items {
  bool single = false;
  std::vector<const text::Json*> records;

  // What `read` makes of each; an InputError names the item of several.
  template <typename Read>
  auto read(const Read& read) const {
    std::vector<decltype(read(*records[0]))> items;
    for (std::size_t index = 0; index < records.size(); ++index) {
      const auto step = [&] { return read(*records[index]); };
      items.push_back(single ? step() : pipelines::naming_item(index, step));
    }
    return items;
  }
};

class Request {
 public:
  // Throws InputError where the value is no object, or has a member that is not among the known.
  Request(const text::Json& json, std::initializer_list<const char*> known);
  // The options that the Python package's calls hand to the tokenizer.
  static Request for_tokenizer(const text::Json& json);

  // The member of a name; nullptr where there is none or it is null.
  const text::Json* find(const char* name) const;
  // Whether a name stands there with null.
  bool is_null(const char* name) const;

  // Options; nothing where they are left out. Throw InputError where they are of another type.
  std::optional<bool> flag(const char* name) const;
  std::optional<double> number(const char* name) const;
  std::optional<std::string> string(const char* name) const;
  std::optional<std::vector<std::string>> strings(const char* name, const char* item) const;
  template <typename Number>
  std::optional<Number> whole(const char* name, std::int64_t least,
                              const std::string& expected = {}) const {
    const auto found = whole_number(name, least, expected);
    return found ? std::optional(static_cast<Number>(*found)) : std::nullopt;
  }
  std::optional<Truncation> truncation(const char* name) const;

  // A string or a list of them.
  Items texts(const char* name) const;
  // A record or a list of them as `inputs`, or one whose fields stand in the call itself.
  Items records(std::initializer_list<const char*> fields) const;

 private:
  explicit Request(const text::Json& json) : json_(json) {}

  std::optional<std::int64_t> whole_number(const char* name, std::int64_t least,
                                           const std::string& expected) const;

  const text::Json& json_;
};

}  // namespace bert_export::calls
