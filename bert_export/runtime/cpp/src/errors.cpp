#include "bert_export/errors.hpp"

#include "text/printing.hpp"

namespace bert_export {
namespace {

// A sentence with its final stop, which an error that is quoted in it may have brought.
std::string ended(const std::string& text) {
  const auto ends_with = [&](const std::string& end) {
    return text.size() >= end.size() &&
           text.compare(text.size() - end.size(), end.size(), end) == 0;
  };
  return ends_with(".") && !ends_with("..") ? text : text + ".";
}

std::string message_of(const std::string& what, const Clauses& clauses) {
  std::string message = what;
  if (!clauses.expected.empty()) message += ": expected " + clauses.expected;
  if (!clauses.got.empty()) message += (clauses.expected.empty() ? ": got " : ", got ") + clauses.got;
  message = ended(message);
  if (!clauses.fix.empty()) message += " " + ended(clauses.fix);
  // Names come out of files: none may break the line or speak to the terminal.
  return text::printable(message);
}

}  // namespace

Error::Error(const std::string& what, const Clauses& clauses)
    : std::runtime_error(message_of(what, clauses)) {}

}  // namespace bert_export
