// One call of a program.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "native/cache.hpp"
#include "native/kernels.hpp"
#include "native/memory.hpp"
#include "native/plan.hpp"
#include "native/prepared.hpp"
#include "native/program.hpp"
#include "threads/team.hpp"

namespace bert_export::native {

// Memory of a call, which the next one uses again.
struct Workspace {
  Memory memory;
};

// Some rows of a value.
struct Matrix {
  void* data = nullptr;
  std::size_t stride = 0;  // in numbers
  std::size_t rows = 0;
  std::size_t width = 0;

  float* floats(std::size_t row) const { return static_cast<float*>(data) + row * stride; }
};

// A batch, or some texts of one that stand one behind the other.
struct Texts {
  Batch batch;  // its position_ids are given
  std::vector<std::size_t> starts;  // (texts + 1,)
  std::size_t first_text = 0;       // of them in the cache

  // Tokens of earlier calls.
  std::size_t past(std::size_t text) const {
    return batch.cache == nullptr ? 0 : batch.cache->length(first_text + text);
  }
  std::size_t length(std::size_t text) const { return starts[text + 1] - starts[text]; }
};

class Execution {
 public:
  Execution(const ProgramFile& program, const Plan& plan, const Prepared& prepared,
            const Kernels& kernels, const Texts& texts, Workspace& workspace, Team::Hold* team);

  void run();
  // All rows of a value that is not local to a pass.
  Matrix whole(ValueId id) const;

 private:
  // A part of a pass: rows, the memory of what is local to them, and the columns to compute.
  struct Block {
    std::size_t first = 0;
    std::size_t rows = 0;
    std::size_t slot = 0;
  };
  // Columns of an operation's output, in whole width_multiple; all where the last is 0.
  struct Columns {
    std::size_t first = 0;
    std::size_t last = 0;
  };

  std::size_t threads() const { return team_ == nullptr ? 1 : team_->size(); }
  template <typename Work>
  void for_each(std::size_t count, const Work& work) const {
    if (team_ != nullptr) return team_->for_each(count, work);
    for (std::size_t part = 0; part < count; ++part) work(part, std::size_t{0});
  }
  std::size_t count_of(Rows rows) const;
  Matrix rows_of(ValueId id, const Block& block) const;
  void run_blocks(const Pass& pass);
  void run_columns(const Pass& pass);
  void run_row_by_row(std::size_t index, const Block& block, Columns columns);
  void run_embed(std::size_t index, const Block& block);
  void run_linear(std::size_t index, const Block& block, Columns columns);
  void copy_rows(std::size_t index, const Block& block);
  void run_quantize(std::size_t index, const Block& block);
  void run_whole(std::size_t index);
  void run_attention(std::size_t index);
  void keep(std::size_t record, Cache::Part part, const Matrix& matrix, Numbers numbers,
            std::size_t text, std::size_t head) const;

  const ProgramFile& program_;
  const Plan& plan_;
  const Prepared& prepared_;
  const Kernels& kernels_;
  const Texts& texts_;
  Team::Hold* team_;  // none where the caller's thread works alone
  std::size_t block_rows_;
  std::size_t scratch_bytes_;
  std::array<std::uint8_t*, kinds_of_rows> areas_{};
  std::uint8_t* local_ = nullptr;
  std::uint8_t* scratch_ = nullptr;
};

}  // namespace bert_export::native
