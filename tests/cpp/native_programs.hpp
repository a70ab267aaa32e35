// Programs of the native target that are drawn: a small BERT of any shape, and batches for it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "native/program.hpp"

namespace tests {

// The next choice: a number from 0 to below the argument.
using Choose = std::function<std::uint32_t(std::uint32_t)>;

struct DrawnProgram {
  std::string json;
  std::string weights;
  std::uint32_t words = 0;
  std::uint32_t positions = 0;
  bool masked_positions = false;
  bool pooling_mask = false;
  // Whether it keeps keys and values; then every token's answer depends on those before it alone.
  bool cached = false;
};

// `most_width` bounds hidden sizes, `most_heads` heads; texts have at most `positions` tokens.
DrawnProgram draw_program(const Choose& choose, std::uint32_t most_width, std::uint32_t most_heads,
                          std::uint32_t positions = 64);

// A batch that owns its numbers.
struct DrawnBatch {
  std::vector<std::int64_t> ids, types, lengths, masks, pooled;
  bert_export::native::Batch view() const;
  // One of its texts alone; its masks, if the program has some.
  DrawnBatch text(std::size_t index) const;
  // The tokens of every text from a share of its length to another, in parts of `of`; no masks.
  DrawnBatch part(std::size_t first, std::size_t last, std::size_t of) const;
};

DrawnBatch draw_batch(const DrawnProgram& program, const Choose& choose, std::uint32_t most_texts,
                      std::uint32_t longest);

// The two files of a program in a folder that is removed at the end.
class ProgramFiles {
 public:
  ProgramFiles(const std::string& json, const std::string& weights);
  explicit ProgramFiles(const DrawnProgram& program) : ProgramFiles(program.json, program.weights) {}
  ProgramFiles(const ProgramFiles&) = delete;
  ProgramFiles& operator=(const ProgramFiles&) = delete;
  ~ProgramFiles();

  std::unique_ptr<bert_export::native::Program> open(const std::string& isa,
                                                     std::size_t threads = 1) const;

 private:
  std::string folder_;
};

// Of all outputs, the share of the largest number by which two runs differ.
float furthest(const std::vector<bert_export::native::Result>& wanted,
               const std::vector<bert_export::native::Result>& got);

}  // namespace tests
