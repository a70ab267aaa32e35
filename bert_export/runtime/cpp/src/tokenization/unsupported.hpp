// What tokenizer.json may ask for, and this library does not do exactly: it is refused by name.
#pragma once

#include <stdexcept>
#include <string>

namespace bert_export::tokenization {

class Unsupported : public std::runtime_error {
 public:
  // A part of the file such as "normalizer", what is implemented, and what was asked for.
  Unsupported(std::string part, std::string implemented, std::string asked)
      : std::runtime_error(part),
        part(std::move(part)),
        implemented(std::move(implemented)),
        asked(std::move(asked)) {}

  std::string part;
  std::string implemented;
  std::string asked;
};

}  // namespace bert_export::tokenization
