// A program's operations with their weights as kernels want them.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <variant>
#include <vector>

#include "native/kernels.hpp"
#include "native/memory.hpp"
#include "native/plan.hpp"
#include "native/weights_file.hpp"

namespace bert_export::native {

// How the rows of an operation's float32 result are normalized and copied.
struct PreparedRows {
  bool normalized = false;
  Norm norm;
  // To bytes.
  const float* shift = nullptr;
  const float* factor = nullptr;
  std::int32_t zero_point = 0;
};

struct PreparedEmbed {
  Table tables[3];
};

struct PreparedOperation {
  // What of it is prepared; the rest stands in the program.
  std::variant<std::monostate, PreparedEmbed, Linear, Attention> kernel;
  PreparedRows rows;
};

// The operations, and what their pointers point to.
class Prepared {
 public:
  // Throws BundleError where a scale is not finite and above 0.
  Prepared(const std::string& name, const ProgramFile& program, const Plan& plan,
           const WeightsFile& weights);

  const PreparedOperation& operator[](std::size_t operation) const { return operations_[operation]; }
  // The largest heads of all attentions.
  std::size_t head_size() const { return head_size_; }

 private:
  // Weights that several layers read are packed once.
  struct Packed {
    void* numbers = nullptr;
    std::vector<std::int32_t> column_sums;
    bool narrow = false;
  };
  using PackedKey = std::tuple<TensorId, Numbers, bool>;  // the last: transposed

  void reserve_packed();
  void prepare_linear(const LinearOperation& operation, const Results& results,
                      PreparedOperation& prepared);
  void prepare_rows(std::size_t index, PreparedOperation& prepared);
  const Packed& packed(const LinearOperation& operation, Numbers input, std::size_t depth,
                       std::size_t width);
  // A tensor of floats, padded with 0; zeros where there is none.
  const float* padded(std::optional<TensorId> tensor, std::size_t width);
  const float* keep(std::vector<float> numbers);
  std::vector<float> scales(TensorId tensor);

  std::string name_;
  const ProgramFile& program_;
  const Plan& plan_;
  const WeightsFile& weights_;
  std::vector<PreparedOperation> operations_;
  std::map<PackedKey, Packed> packed_;
  Memory packed_memory_;
  std::size_t packed_bytes_ = 0;  // of it, those that are taken
  std::deque<std::vector<float>> floats_;
  std::deque<std::vector<std::int32_t>> corrections_;
  std::size_t head_size_ = 1;
};

}  // namespace bert_export::native
