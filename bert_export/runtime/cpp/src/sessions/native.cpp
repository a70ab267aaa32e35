#include "sessions/native.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

#include "bert_export/errors.hpp"
#include "bundle/files.hpp"
#include "native/cache.hpp"
#include "native/instruction_set.hpp"
#include "native/program.hpp"
#include "text/printing.hpp"

namespace bert_export::sessions {
namespace {

using native::Rows;

// The tokens of a padded batch that are none of its padding, row behind row.
struct Unpadded {
  std::vector<std::size_t> places;  // among the padded tokens
  std::vector<std::int64_t> lengths;
  std::vector<std::int64_t> positions;  // columns
  bool starts_first = true;             // whether every row starts in the first column

  Unpadded(const Feed& mask, std::size_t columns) {
    for (std::size_t row = 0; row < mask.numbers.size() / columns; ++row) {
      const std::size_t before = places.size();
      for (std::size_t column = 0; column < columns; ++column) {
        const std::size_t place = row * columns + column;
        if (mask.numbers[place] == 0) continue;
        places.push_back(place);
        positions.push_back(static_cast<std::int64_t>(column));
      }
      lengths.push_back(static_cast<std::int64_t>(places.size() - before));
      if (lengths.back() == 0) {
        throw InputError("attention_mask hides a whole row", {"a 1 at least in each", "none"});
      }
      if (positions[before] != 0) starts_first = false;
    }
  }

  std::vector<std::int64_t> of(const Feed& feed) const {
    std::vector<std::int64_t> numbers;
    numbers.reserve(places.size());
    for (const std::size_t place : places) numbers.push_back(feed.numbers[place]);
    return numbers;
  }
};

// Keys and values that lie where the program reads them, each row's own tokens and no padding.
class NativeCache : public SessionCache {
 public:
  explicit NativeCache(const native::Program& program) : program_(program), cache_(program.file()) {}

  Output step(const std::vector<std::vector<std::int64_t>>& tokens) override {
    std::vector<std::int64_t> ids;
    std::vector<std::int64_t> lengths;
    for (const auto& row : tokens) {
      ids.insert(ids.end(), row.begin(), row.end());
      lengths.push_back(static_cast<std::int64_t>(row.size()));
    }
    const std::vector<std::int64_t> types(ids.size(), 0);
    native::Batch batch;
    batch.input_ids = ids.data();
    batch.token_type_ids = types.data();
    batch.tokens = ids.size();
    batch.lengths = lengths.data();
    batch.texts = lengths.size();
    batch.cache = &cache_;
    native::Result scores = std::move(program_.run(batch).front());
    return {{static_cast<std::int64_t>(scores.rows), static_cast<std::int64_t>(scores.width)},
            std::move(scores.numbers)};
  }

  void select(const std::vector<std::size_t>& rows) override { cache_.select(rows); }

 private:
  const native::Program& program_;
  native::Cache cache_;
};

class NativeSession : public Session {
 public:
  NativeSession(const std::string& folder, const bundle::EngineRecord& engine,
                const SessionOptions& options)
      : graph_(engine.graph),
        longest_(options.longest),
        program_(native::Program::open(folder + "/" + engine.graph.file,
                                       folder + "/" + bundle::weights_file,
                                       {static_cast<std::size_t>(options.threads), ""})) {
    for (const native::Operation& operation : program_->file().operations) {
      const auto* const gather = std::get_if<native::GatherOperation>(&operation.fields);
      if (gather != nullptr && gather->index == native::GatherIndex::first) reads_first_ = true;
    }
    const auto check = [&](const char* what, const std::vector<bundle::TensorSpec>& own,
                           const std::vector<bundle::TensorSpec>& manifest) {
      if (std::equal(own.begin(), own.end(), manifest.begin(), manifest.end(), bundle::is_same)) {
        return;
      }
      throw BundleError("program " + engine.graph.file + " is not the one of the manifest",
                        {std::string("the manifest's ") + what, "others", "Export the bundle again"});
    };
    check("inputs", program_->file().interface_inputs, graph_.inputs);
    check("outputs", program_->file().interface_outputs, graph_.outputs);
  }

  Outputs run(const Feeds& feeds) const override {
    check_feeds(graph_.inputs, feeds, longest_);
    const Feed& ids = feeds.at("input_ids");
    const auto columns = static_cast<std::size_t>(ids.shape.back());
    if (!program_->file().caches.empty()) return run_behind_past(feeds, columns);
    const Unpadded tokens(feeds.at("attention_mask"), columns);
    if (reads_first_ && !tokens.starts_first) {
      throw InputError("attention_mask hides the first token of a row, which the head reads",
                       {"rows padded on the right", ""});
    }

    native::Batch batch;
    const std::vector<std::int64_t> input_ids = tokens.of(ids);
    const auto types = feeds.find("token_type_ids");
    const std::vector<std::int64_t> token_types =
        types == feeds.end() ? std::vector<std::int64_t>(input_ids.size(), 0)
                             : tokens.of(types->second);
    batch.input_ids = input_ids.data();
    batch.token_type_ids = token_types.data();
    batch.tokens = input_ids.size();
    batch.lengths = tokens.lengths.data();
    batch.texts = tokens.lengths.size();
    batch.position_ids = tokens.positions.data();
    std::vector<std::int64_t> masked;
    if (program_->file().masked_positions) {
      masked = find_masked(feeds.at("masked_positions"), tokens);
      batch.masks = masked.size();
      batch.masked_positions = masked.data();
    }
    std::vector<std::int64_t> pooled;
    if (program_->file().pooling_mask) {
      pooled = tokens.of(feeds.at("pooling_mask"));
      batch.pooling_mask = pooled.data();
    }

    return run_batch(batch, ids.shape, tokens);
  }

  std::unique_ptr<SessionCache> open_cache() const override {
    if (program_->file().caches.empty()) return nullptr;
    return std::make_unique<NativeCache>(*program_);
  }

 private:
  // The outputs of a batch in the shape of padded rows.
  Outputs run_batch(const native::Batch& batch, const Shape& ids, const Unpadded& tokens) const {
    Outputs outputs;
    std::vector<native::Result> results = program_->run(batch);
    for (std::size_t index = 0; index < results.size(); ++index) {
      const auto& own = program_->file().outputs[index];
      outputs.emplace(results[index].name,
                      shaped(results[index], program_->file().values[own.value].rows, ids, tokens));
    }
    return outputs;
  }

  // Padded rows behind keys and values that are handed over; all of them are handed back.
  Outputs run_behind_past(const Feeds& feeds, std::size_t columns) const {
    const Feed& mask = feeds.at("attention_mask");
    const auto total = static_cast<std::size_t>(mask.shape.back());
    const std::size_t past = total - columns;
    const std::size_t rows = mask.numbers.size() / total;
    Feed own{{static_cast<std::int64_t>(rows), static_cast<std::int64_t>(columns)}, {}};
    std::vector<std::vector<std::size_t>> visible(rows);  // columns of all tokens
    std::vector<std::size_t> before(rows, 0);
    for (std::size_t row = 0; row < rows; ++row) {
      for (std::size_t column = 0; column < total; ++column) {
        const std::int64_t one = mask.numbers[row * total + column];
        if (column >= past) own.numbers.push_back(one);
        if (one == 0) continue;
        visible[row].push_back(column);
        if (column < past) ++before[row];
      }
    }
    const Unpadded tokens(own, columns);

    native::Cache cache(program_->file());
    cache.make_room(before);
    const auto& records = program_->file().caches;
    using Part = native::Cache::Part;
    const auto for_parts = [&](const auto& work) {
      for (std::size_t record = 0; record < records.size(); ++record) {
        work(record, Part::keys, records[record].past_key, records[record].present_key);
        work(record, Part::values, records[record].past_value, records[record].present_value);
      }
    };
    for_parts([&](std::size_t record, Part part, const std::string& name, const std::string&) {
      const Feed& given = feeds.at(name);  // (B, N, P, D)
      std::vector<float> floats;
      for (std::size_t row = 0; row < rows; ++row) {
        floats.clear();
        for (std::size_t token = 0; token < before[row]; ++token) {
          for (std::size_t head = 0; head < records[record].heads; ++head) {
            const std::size_t size = records[record].head_size;
            const float* const from =
                given.floats.data() +
                ((row * records[record].heads + head) * past + visible[row][token]) * size;
            floats.insert(floats.end(), from, from + size);
          }
        }
        cache.write(record, part, row, floats.data(), 0, before[row]);
      }
    });
    cache.grow(before);

    native::Batch batch;
    const std::vector<std::int64_t> input_ids = tokens.of(feeds.at("input_ids"));
    const std::vector<std::int64_t> token_types = tokens.of(feeds.at("token_type_ids"));
    batch.input_ids = input_ids.data();
    batch.token_type_ids = token_types.data();
    batch.tokens = input_ids.size();
    batch.lengths = tokens.lengths.data();
    batch.texts = rows;
    batch.cache = &cache;
    Outputs outputs = run_batch(batch, own.shape, tokens);
    for_parts([&](std::size_t record, Part part, const std::string&, const std::string& name) {
      const std::size_t heads = records[record].heads;
      const std::size_t size = records[record].head_size;
      Output present{{static_cast<std::int64_t>(rows), static_cast<std::int64_t>(heads),
                      static_cast<std::int64_t>(total), static_cast<std::int64_t>(size)},
                     std::vector<float>(rows * heads * total * size, 0.0F)};
      for (std::size_t row = 0; row < rows; ++row) {
        std::vector<float> floats(cache.length(row) * heads * size);
        cache.read(record, part, row, floats.data());
        for (std::size_t token = 0; token < cache.length(row); ++token) {
          for (std::size_t head = 0; head < heads; ++head) {
            std::copy_n(floats.data() + (token * heads + head) * size, size,
                        present.numbers.data() +
                            ((row * heads + head) * total + visible[row][token]) * size);
          }
        }
      }
      outputs.emplace(name, std::move(present));
    });
    return outputs;
  }

  // Places of masks among the tokens that are left.
  static std::vector<std::int64_t> find_masked(const Feed& feed, const Unpadded& tokens) {
    std::vector<std::int64_t> masked;
    masked.reserve(feed.numbers.size() + 1);  // given, though there be none
    for (const std::int64_t place : feed.numbers) {
      const auto found = std::lower_bound(tokens.places.begin(), tokens.places.end(),
                                          static_cast<std::size_t>(place));
      if (place < 0 || found == tokens.places.end() ||
          *found != static_cast<std::size_t>(place)) {
        throw InputError("input masked_positions names a token that is not seen",
                         {"places where attention_mask is 1", std::to_string(place)});
      }
      masked.push_back(found - tokens.places.begin());
    }
    return masked;
  }

  // Results in the shape of the padded batch; 0 where it is padded.
  static Output shaped(native::Result& result, Rows rows, const Shape& ids, const Unpadded& tokens) {
    Output output;
    output.shape = rows == Rows::masks ? Shape{static_cast<std::int64_t>(result.rows)} : ids;
    if (rows == Rows::texts) output.shape.pop_back();
    if (!result.column) output.shape.push_back(static_cast<std::int64_t>(result.width));
    const std::size_t padded = std::accumulate(
        ids.begin(), ids.end(), std::size_t{1},
        [](std::size_t all, std::int64_t size) { return all * static_cast<std::size_t>(size); });
    if (rows != Rows::tokens || tokens.places.size() == padded) {
      output.numbers = std::move(result.numbers);
      return output;
    }
    output.numbers.assign(padded * result.width, 0.0F);
    for (std::size_t row = 0; row < tokens.places.size(); ++row) {
      std::copy_n(result.numbers.begin() + static_cast<std::ptrdiff_t>(row * result.width),
                  result.width,
                  output.numbers.begin() +
                      static_cast<std::ptrdiff_t>(tokens.places[row] * result.width));
    }
    return output;
  }

  bundle::GraphRecord graph_;
  std::optional<std::int64_t> longest_;
  std::unique_ptr<native::Program> program_;
  bool reads_first_ = false;
};

}  // namespace

std::unique_ptr<Session> open_native(const std::string& folder, const bundle::EngineRecord& engine,
                                     const SessionOptions& options) {
  check_threads(options.threads);
  check_types(folder + "/" + engine.graph.file, engine.graph);
  return std::make_unique<NativeSession>(folder, engine, options);
}

bool native_is_ahead() { return native::chosen_set() == native::InstructionSet::amx; }

}  // namespace bert_export::sessions
