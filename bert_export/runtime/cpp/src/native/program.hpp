// A program that is ready to run: native.json with its weights, on one set of kernels.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "native/instruction_set.hpp"
#include "native/program_file.hpp"

namespace bert_export::native {

struct ProgramOptions {
  // Threads of a call, the caller's among them; 0 for as many as the process may run on.
  std::size_t threads = 0;
  // The set of kernels; the fastest of this machine where it is empty.
  std::string isa;
};

class Cache;

// Texts of any lengths, their tokens one behind the other. What is absent is null.
struct Batch {
  const std::int64_t* input_ids = nullptr;       // (tokens,)
  const std::int64_t* token_type_ids = nullptr;  // (tokens,)
  std::size_t tokens = 0;
  const std::int64_t* lengths = nullptr;  // (texts,), at least 1 each
  std::size_t texts = 0;
  const std::int64_t* position_ids = nullptr;      // (tokens,)
  const std::int64_t* masked_positions = nullptr;  // (masks,), places among all tokens
  std::size_t masks = 0;
  const std::int64_t* pooling_mask = nullptr;  // (tokens,)
  // Keys and values of the texts' earlier tokens, behind which these come; they join them.
  Cache* cache = nullptr;
};

// An output, (rows, width) or one column of it, (rows,).
struct Result {
  std::string name;
  std::size_t rows = 0;
  std::size_t width = 0;
  bool column = false;
  std::vector<float> numbers;
};

// Safe to call from several threads at once.
class Program {
 public:
  // Throws BundleError for a program that is not legal or weights that cannot be read, InputError for a
  // set that is unknown or that this machine lacks.
  static std::unique_ptr<Program> open(const std::string& program, const std::string& weights,
                                       const ProgramOptions& options = {});
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;
  ~Program();

  // The outputs in the program's order. Throws InputError for what the program has no row for; then a
  // cache is as it was.
  std::vector<Result> run(const Batch& batch) const;

  InstructionSet set() const;
  std::size_t threads() const;
  const ProgramFile& file() const;

 private:
  struct Parts;
  explicit Program(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace bert_export::native
