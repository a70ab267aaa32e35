// Every error that the library throws, in the words of the Python package.
//
//     Error
//     ├── BundleError      a bundle is missing, tampered with, truncated or of another version
//     ├── InputError       a call or an option does not fit the task or the graph
//     ├── TargetError      an engine cannot be opened, or cannot take the graph
//     ├── TaskError        the bundle is for another task
//     └── TokenizerError   tokenizer files are missing, malformed or contradictory
//
// A message is `<thing> <name> <what is wrong>: expected <x>, got <y>. <what to do>.`
#pragma once

#include <stdexcept>
#include <string>

#include "bert_export/visibility.hpp"

namespace bert_export {

// The parts of a message behind what is wrong; an empty one is left out.
struct Clauses {
  std::string expected = {};
  std::string got = {};
  std::string fix = {};
};

// Base of the tree; what() is one line of UTF-8 that a user can act on.
class BERT_EXPORT_API Error : public std::runtime_error {
 public:
  explicit Error(const std::string& what, const Clauses& clauses = {});
};

class BERT_EXPORT_API BundleError : public Error {
 public:
  using Error::Error;
};

class BERT_EXPORT_API InputError : public Error {
 public:
  using Error::Error;
};

class BERT_EXPORT_API TargetError : public Error {
 public:
  using Error::Error;
};

class BERT_EXPORT_API TaskError : public Error {
 public:
  using Error::Error;
};

class BERT_EXPORT_API TokenizerError : public Error {
 public:
  using Error::Error;
};

}  // namespace bert_export
