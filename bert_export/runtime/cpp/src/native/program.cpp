#include "native/program.hpp"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <thread>

#include "bert_export/errors.hpp"
#include "bundle/files.hpp"
#include "native/execution.hpp"
#include "native/pieces.hpp"
#include "native/plan.hpp"
#include "native/prepared.hpp"
#include "native/weights_file.hpp"
#include "text/printing.hpp"
#include "threads/team.hpp"

namespace bert_export::native {
namespace {

// A workspace beyond this is given back after its call.
constexpr std::size_t kept_bytes = std::size_t{256} << 20U;
constexpr std::size_t most_tokens = std::size_t{1} << 30U;

// Processors that this process may run on.
std::size_t usable_processors() {
  cpu_set_t set;
  if (::sched_getaffinity(0, sizeof(set), &set) == 0) {
    return static_cast<std::size_t>(std::max(CPU_COUNT(&set), 1));
  }
  return std::max(std::thread::hardware_concurrency(), 1U);
}

InstructionSet set_of(const std::string& asked) {
  if (asked.empty()) return chosen_set();
  std::string known;
  for (const InstructionSet set : available_sets()) {
    if (asked == name_of(set)) return set;
    known = name_of(set) + (known.empty() ? "" : ", " + known);
  }
  throw InputError("isa is none that this machine runs", {"one of " + known, text::shown(asked)});
}

std::string read_text(const std::string& path) {
  std::string text;
  const std::string wrong =
      bundle::read_chunks(path, [&](std::string_view chunk) { text.append(chunk); });
  if (wrong.empty()) return text;
  throw BundleError("program " + path + " cannot be read", {"a readable file", wrong});
}

// Numbers of an input from `least` to below `bound`.
void check_numbers(const char* name, const std::int64_t* numbers, std::size_t count,
                   std::size_t bound, std::int64_t least = 0) {
  if (count == 0) return;
  const auto [low, high] = std::minmax_element(numbers, numbers + count);
  if (*low >= least && *high < static_cast<std::int64_t>(bound)) return;
  throw InputError(std::string("input ") + name + " holds a number that the model has no row for",
                   {std::to_string(least) + " to " + std::to_string(bound - 1),
                    std::to_string(*low) + " to " + std::to_string(*high)});
}

void check_given(const char* name, bool given, bool wanted) {
  if (given == wanted) return;
  throw InputError(std::string("input ") + name + (wanted ? " is missing" : " is not of the program"),
                   {wanted ? name : "no such input", given ? name : "none"});
}

// Stores the rows of a piece where they belong among those of the batch.
void copy_output(const Matrix& matrix, std::size_t column, const Piece& piece, Rows rows,
                 Result& result) {
  const std::size_t first = rows == Rows::tokens ? piece.first_token : piece.first_text;
  for (std::size_t row = 0; row < matrix.rows; ++row) {
    const std::size_t place = rows == Rows::masks ? piece.masks[row] : first + row;
    const float* const numbers = matrix.floats(row) + column;
    std::copy(numbers, numbers + result.width, result.numbers.begin() +
                  static_cast<std::ptrdiff_t>(place * result.width));
  }
}

}  // namespace

struct Program::Parts {
  Parts(const std::string& path, const std::string& weights_path, const ProgramOptions& options)
      : weights(weights_path),
        file(parse_program(path, read_text(path), weights.size())),
        plan(make_plan(file)),
        prepared(path, file, plan, weights),
        set(set_of(options.isa)),
        threads(options.threads == 0 ? usable_processors() : options.threads),
        current(new Shared(Team::current_forks())) {}
  Parts(const Parts&) = delete;
  Parts& operator=(const Parts&) = delete;
  ~Parts() { delete current.load(); }

  WeightsFile weights;
  ProgramFile file;
  Plan plan;
  Prepared prepared;
  InstructionSet set;
  std::size_t threads;

  // What calls share. A child that was forked during a call begins with its own: who held the lock is
  // not there to give it back, nor are the team's threads.
  struct Shared {
    explicit Shared(std::size_t fork_count) : forks(fork_count) {}
    const std::size_t forks;
    std::mutex mutex;
    std::shared_ptr<Team> team;
    std::vector<std::unique_ptr<Workspace>> workspaces;
  };

  Shared& shared() {
    const std::size_t forks = Team::current_forks();
    Shared* own = current.load();
    while (own->forks != forks) {
      auto fresh = std::make_unique<Shared>(forks);
      if (current.compare_exchange_strong(own, fresh.get())) return *fresh.release();
    }
    return *own;
  }

  std::shared_ptr<Team> team() {
    Shared& own = shared();
    const std::lock_guard<std::mutex> lock(own.mutex);
    if (own.team == nullptr) own.team = Team::shared(threads);
    return own.team;
  }

  std::unique_ptr<Workspace> take_workspace() {
    Shared& own = shared();
    const std::lock_guard<std::mutex> lock(own.mutex);
    if (own.workspaces.empty()) return std::make_unique<Workspace>();
    std::unique_ptr<Workspace> taken = std::move(own.workspaces.back());
    own.workspaces.pop_back();
    return taken;
  }
  void give_back(std::unique_ptr<Workspace> workspace) {
    if (workspace->memory.size() > kept_bytes) return;
    Shared& own = shared();
    const std::lock_guard<std::mutex> lock(own.mutex);
    own.workspaces.push_back(std::move(workspace));
  }

  // Refuses what the program has no row for.
  Texts read_texts(const Batch& batch) const;
  // Room in the cache for the texts' tokens, behind those that it has positions for.
  void make_room(const Texts& texts) const;
  std::vector<Result> empty_results(const Batch& batch) const;

  std::atomic<Shared*> current{nullptr};
};

void Program::Parts::make_room(const Texts& texts) const {
  Cache& cache = *texts.batch.cache;
  std::vector<std::size_t> lengths;
  for (std::size_t text = 0; text < texts.batch.texts; ++text) {
    lengths.push_back(texts.length(text));
    const std::size_t past = text < cache.texts() ? cache.length(text) : 0;
    if (file.positions == 0 || past + lengths.back() <= file.positions) continue;
    throw InputError("text " + std::to_string(text) + " is longer than the model takes",
                     {"at most " + std::to_string(file.positions) + " tokens, its positions",
                      std::to_string(past) + " of the cache and " + std::to_string(lengths.back())});
  }
  cache.make_room(lengths);
}

Texts Program::Parts::read_texts(const Batch& batch) const {
  Texts texts;
  texts.batch = batch;
  if (batch.texts == 0 || batch.tokens == 0 || batch.tokens > most_tokens) {
    throw InputError("a batch is of the wrong size",
                     {"at least one text, and at most " + std::to_string(most_tokens) + " tokens",
                      std::to_string(batch.texts) + " texts of " + std::to_string(batch.tokens) +
                          " tokens"});
  }
  const bool embeds = file.positions > 0;
  if (batch.cache != nullptr && (file.caches.empty() || !batch.cache->fits(file))) {
    throw InputError("cache is of another program",
                     {std::to_string(file.caches.size()) + " caches of its own heads", "others"});
  }
  check_numbers("lengths", batch.lengths, batch.texts,
                (embeds && batch.position_ids == nullptr ? file.positions : batch.tokens) + 1, 1);
  texts.starts.reserve(batch.texts + 1);
  texts.starts.push_back(0);
  for (std::size_t text = 0; text < batch.texts; ++text) {
    texts.starts.push_back(texts.starts.back() + static_cast<std::size_t>(batch.lengths[text]));
  }
  if (texts.starts.back() != batch.tokens) {
    throw InputError("lengths do not add up",
                     {std::to_string(batch.tokens) + " tokens", std::to_string(texts.starts.back())});
  }
  if (embeds) {
    check_numbers("input_ids", batch.input_ids, batch.tokens, file.words);
    check_numbers("token_type_ids", batch.token_type_ids, batch.tokens, file.token_types);
    if (batch.position_ids != nullptr) {
      check_numbers("position_ids", batch.position_ids, batch.tokens, file.positions);
    }
  }
  check_given("masked_positions", batch.masked_positions != nullptr || batch.masks > 0,
              file.masked_positions);
  check_numbers("masked_positions", batch.masked_positions, batch.masks, batch.tokens);
  check_given("pooling_mask", batch.pooling_mask != nullptr, file.pooling_mask);
  if (batch.pooling_mask == nullptr) return texts;
  check_numbers("pooling_mask", batch.pooling_mask, batch.tokens, 2);
  for (std::size_t text = 0; text < batch.texts; ++text) {
    const std::int64_t* const first = batch.pooling_mask + texts.starts[text];
    const std::int64_t* const last = batch.pooling_mask + texts.starts[text + 1];
    if (std::find(first, last, 1) != last) continue;
    throw InputError("input pooling_mask marks no token of text " + std::to_string(text),
                     {"one or more", "none"});
  }
  return texts;
}

std::vector<Result> Program::Parts::empty_results(const Batch& batch) const {
  std::vector<Result> results;
  for (const ProgramOutput& output : file.outputs) {
    const Value& value = file.values[output.value];
    const std::size_t rows = value.rows == Rows::tokens  ? batch.tokens
                             : value.rows == Rows::texts ? batch.texts
                                                         : batch.masks;
    const std::size_t width = output.column ? 1 : value.width;
    results.push_back({output.name, rows, width, output.column.has_value(),
                       std::vector<float>(rows * width)});
  }
  return results;
}

Program::Program(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

Program::~Program() = default;

std::unique_ptr<Program> Program::open(const std::string& program, const std::string& weights,
                                       const ProgramOptions& options) {
  return std::unique_ptr<Program>(
      new Program(std::make_unique<Parts>(program, weights, options)));
}

InstructionSet Program::set() const { return parts_->set; }
std::size_t Program::threads() const { return parts_->threads; }
const ProgramFile& Program::file() const { return parts_->file; }

std::vector<Result> Program::run(const Batch& batch) const {
  Parts& parts = *parts_;
  Texts texts = parts.read_texts(batch);
  if (batch.cache != nullptr) parts.make_room(texts);
  std::vector<std::int64_t> positions;
  if (batch.position_ids == nullptr) {
    positions.reserve(batch.tokens);
    for (std::size_t text = 0; text < batch.texts; ++text) {
      for (std::size_t place = 0; place < texts.length(text); ++place) {
        positions.push_back(static_cast<std::int64_t>(texts.past(text) + place));
      }
    }
    texts.batch.position_ids = positions.data();
  }
  std::vector<Result> results = parts.empty_results(batch);

  const std::shared_ptr<Team> team = parts.team();
  Team::Hold hold(*team);
  const std::vector<Piece> pieces = cut(texts, hold.size());
  const auto run_piece = [&](const Piece& piece, Workspace& workspace, Team::Hold* helpers) {
    Execution execution(parts.file, parts.plan, parts.prepared, kernels_of(parts.set), piece.texts,
                        workspace, helpers);
    execution.run();
    for (std::size_t index = 0; index < results.size(); ++index) {
      const ProgramOutput& output = parts.file.outputs[index];
      copy_output(execution.whole(output.value), output.column.value_or(0), piece,
                  parts.file.values[output.value].rows, results[index]);
    }
  };
  // Pieces side by side where they keep all threads at work; else all threads at each.
  const bool side_by_side = hold.size() > 1 && balanced(pieces, batch.tokens, hold.size());
  std::vector<std::unique_ptr<Workspace>> workspaces;
  for (std::size_t slot = 0; slot < (side_by_side ? hold.size() : 1); ++slot) {
    workspaces.push_back(parts.take_workspace());
  }
  if (side_by_side) {
    std::vector<std::exception_ptr> failures(pieces.size());
    hold.for_each(pieces.size(), [&](std::size_t index, std::size_t slot) {
      try {
        run_piece(pieces[index], *workspaces[slot], nullptr);
      } catch (...) {  // of memory alone
        failures[index] = std::current_exception();
      }
    });
    for (const std::exception_ptr& failure : failures) {
      if (failure) std::rethrow_exception(failure);
    }
  } else {
    for (const Piece& piece : pieces) run_piece(piece, *workspaces.front(), &hold);
  }
  for (std::unique_ptr<Workspace>& workspace : workspaces) parts.give_back(std::move(workspace));
  if (batch.cache != nullptr) {
    std::vector<std::size_t> lengths;
    for (std::size_t text = 0; text < batch.texts; ++text) lengths.push_back(texts.length(text));
    batch.cache->grow(lengths);
  }
  return results;
}

}  // namespace bert_export::native
