#include "sessions/versions.hpp"

#include <cctype>
#include <vector>

#include "bert_export/errors.hpp"

namespace bert_export::sessions {
namespace {

// The numbers that a version begins with, without zeros at their end. Nine digits fit each.
std::vector<long> numbers_of(const std::string& version) {
  std::vector<long> numbers;
  std::size_t place = 0;
  while (place < version.size() && std::isdigit(static_cast<unsigned char>(version[place])) != 0) {
    long number = 0;
    std::size_t digits = 0;
    for (; place < version.size() && std::isdigit(static_cast<unsigned char>(version[place])) != 0;
         ++place) {
      if (++digits <= 9) number = number * 10 + (version[place] - '0');
    }
    numbers.push_back(number);
    if (place >= version.size() || version[place] != '.') break;
    ++place;
  }
  while (!numbers.empty() && numbers.back() == 0) numbers.pop_back();
  return numbers;
}

}  // namespace

void check_version(const std::string& package, const std::string& oldest,
                   const std::string& found) {
  const std::vector<long> numbers = numbers_of(found);
  if (!numbers.empty() && numbers >= numbers_of(oldest)) return;
  throw TargetError(package + " " + found + " is too old for bundles of this bert-export",
                    {package + " " + oldest + " or later", found,
                     "Run: pip install '" + package + ">=" + oldest + "'"});
}

}  // namespace bert_export::sessions
