#include "sessions/cache.hpp"

#include <algorithm>
#include <functional>
#include <numeric>
#include <utility>

#include "bert_export/errors.hpp"

namespace bert_export::sessions {
namespace {

using Places = std::vector<std::size_t>;
using TokenRows = std::vector<std::vector<std::int64_t>>;

std::size_t size_of(std::int64_t axis) { return static_cast<std::size_t>(axis); }

bool takes(const bundle::GraphRecord& graph, const char* name) {
  return std::any_of(graph.inputs.begin(), graph.inputs.end(),
                     [&](const bundle::TensorSpec& spec) { return spec.name == name; });
}

// Some rows of numbers, of so many each.
template <typename Number>
std::vector<Number> gather(const std::vector<Number>& numbers, std::size_t size,
                           const Places& rows) {
  std::vector<Number> gathered;
  gathered.reserve(rows.size() * size);
  for (const std::size_t row : rows) {
    const auto start = numbers.begin() + static_cast<std::ptrdiff_t>(row * size);
    gathered.insert(gathered.end(), start, start + static_cast<std::ptrdiff_t>(size));
  }
  return gathered;
}

// The tokens of a step, (B, S), that are none of its padding; the mask has earlier ones too.
TokenRows unpadded(const Feed& input_ids, const Feed& attention_mask) {
  const std::size_t added = size_of(input_ids.shape[1]);
  const std::size_t total = size_of(attention_mask.shape[1]);
  TokenRows rows(size_of(input_ids.shape[0]));
  for (std::size_t row = 0; row < rows.size(); ++row) {
    for (std::size_t place = 0; place < added; ++place) {
      const bool shown = attention_mask.numbers[(row + 1) * total - added + place] != 0;
      if (shown) rows[row].push_back(input_ids.numbers[row * added + place]);
    }
  }
  return rows;
}

// Refuses keys or values that are not of a batch's heads and tokens, (B, N, T, D).
void check_present(const bundle::TensorSpec& spec, const Output& output) {
  const std::int64_t count = std::accumulate(output.shape.begin(), output.shape.end(),
                                             std::int64_t{1}, std::multiplies<>());
  if (output.shape.size() == 4 && count == static_cast<std::int64_t>(output.numbers.size())) return;
  throw BundleError("graph gives output " + spec.name + " in another shape than the manifest says",
                    {"four axes", shown(output.shape), "Export the bundle again"});
}

// Inputs that no step changes, among the feeds of the rows that are run.
class HeldInputs {
 public:
  explicit HeldInputs(const Feeds& held) {
    for (const auto& [name, feed] : held) names_.push_back(name);
  }

  // Keeps some rows, in this order. Beams of one text change places among themselves, and read the
  // same.
  void select(const Places& rows, Feeds& feeds) {
    if (names_.empty()) return;
    Places now;
    for (const std::size_t row : rows) now.push_back(rows_.empty() ? row : rows_[row]);
    if (now == rows_) return;
    rows_ = std::move(now);
    for (const std::string& name : names_) {
      Feed& feed = feeds.at(name);
      const Feed& first = first_.try_emplace(name, std::move(feed)).first->second;
      const auto count = size_of(first.shape.front());
      feed.shape = first.shape;
      feed.shape.front() = static_cast<std::int64_t>(rows_.size());
      feed.numbers = gather(first.numbers, first.numbers.size() / count, rows_);
      feed.floats = gather(first.floats, first.floats.size() / count, rows_);
    }
  }

 private:
  std::vector<std::string> names_;
  // As they came, and which of those rows are run now; all where they still stand among the feeds.
  Feeds first_;
  Places rows_;
};

// Keys and values, which a call reads and the next one reads with its own behind them.
class KeyValues : public Cache {
 public:
  KeyValues(const bundle::GraphRecord& graph, Feeds held)
      : takes_types_(takes(graph, "token_type_ids")), held_(held), feeds_(std::move(held)) {
    // Keys and values come in the order in which they go in.
    for (const bundle::TensorSpec& spec : graph.inputs) {
      if (is_cache(spec)) pasts_.push_back(&spec);
    }
    for (const bundle::TensorSpec& spec : graph.outputs) {
      if (spec.name.rfind("present.", 0) == 0) presents_.push_back(&spec);
    }
    presents_.resize(std::min(presents_.size(), pasts_.size()));
    pasts_.resize(presents_.size());
  }

  const Output& step(const Session& session, Feed input_ids, Feed attention_mask) override {
    if (!begun_) {
      for (const bundle::TensorSpec* const spec : pasts_) {
        Shape shape;
        for (const auto& axis : spec->shape) {
          const auto* const size = std::get_if<std::int64_t>(&axis);
          shape.push_back(size == nullptr ? 0 : *size);
        }
        if (!shape.empty()) shape.front() = input_ids.shape.front();
        feeds_[spec->name] = {shape, {}};
      }
    }
    if (takes_types_) {
      feeds_["token_type_ids"] = {input_ids.shape,
                                  std::vector<std::int64_t>(input_ids.numbers.size(), 0)};
    }
    feeds_["input_ids"] = std::move(input_ids);
    feeds_["attention_mask"] = std::move(attention_mask);
    session.run_into(feeds_, outputs_);
    // What was read is room for what the next call writes.
    for (std::size_t place = 0; place < pasts_.size(); ++place) {
      Feed& past = feeds_.at(pasts_[place]->name);
      Output& present = outputs_.at(presents_[place]->name);
      check_present(*presents_[place], present);
      past.shape = present.shape;
      past.floats.swap(present.numbers);
    }
    begun_ = true;
    return outputs_.at("logits");
  }

  void select(const Places& rows, std::size_t first) override {
    held_.select(rows, feeds_);
    for (std::size_t place = 0; place < pasts_.size(); ++place) {  // (B, N, P, D)
      Feed& past = feeds_.at(pasts_[place]->name);
      std::vector<float>& kept = outputs_.at(presents_[place]->name).numbers;
      const std::size_t heads = size_of(past.shape[1]);
      const std::size_t whole = size_of(past.shape[2] * past.shape[3]);
      const std::size_t dropped = first * size_of(past.shape[3]);
      kept.clear();
      kept.reserve(rows.size() * heads * (whole - dropped));
      for (const std::size_t row : rows) {
        for (std::size_t head = 0; head < heads; ++head) {
          const float* const start = past.floats.data() + (row * heads + head) * whole;
          kept.insert(kept.end(), start + dropped, start + whole);
        }
      }
      past.floats.swap(kept);
      past.shape[0] = static_cast<std::int64_t>(rows.size());
      past.shape[2] -= static_cast<std::int64_t>(first);
    }
  }

 private:
  bool takes_types_;
  std::vector<const bundle::TensorSpec*> pasts_;
  std::vector<const bundle::TensorSpec*> presents_;
  HeldInputs held_;
  Feeds feeds_;
  Outputs outputs_;
  bool begun_ = false;
};

// The tokens so far, all of which are run again: graphs of older bundles keep nothing.
class Tokens : public Cache {
 public:
  Tokens(const bundle::GraphRecord& graph, std::int64_t pad_id)
      : takes_types_(takes(graph, "token_type_ids")), pad_id_(pad_id) {}

  const Output& step(const Session& session, Feed input_ids, Feed attention_mask) override {
    // Such a graph counts positions from the first place on: rows begin there.
    const TokenRows added = unpadded(input_ids, attention_mask);
    rows_.resize(added.size());
    std::size_t longest = 0;
    for (std::size_t row = 0; row < added.size(); ++row) {
      rows_[row].insert(rows_[row].end(), added[row].begin(), added[row].end());
      longest = std::max(longest, rows_[row].size());
    }
    Feed ids{{input_ids.shape[0], static_cast<std::int64_t>(longest)}, {}};
    Feed mask = ids;
    for (const std::vector<std::int64_t>& row : rows_) {
      ids.numbers.insert(ids.numbers.end(), row.begin(), row.end());
      mask.numbers.insert(mask.numbers.end(), row.size(), 1);
      ids.numbers.insert(ids.numbers.end(), longest - row.size(), pad_id_);
      mask.numbers.insert(mask.numbers.end(), longest - row.size(), 0);
    }
    Feeds feeds;
    if (takes_types_) {
      feeds["token_type_ids"] = {ids.shape, std::vector<std::int64_t>(ids.numbers.size(), 0)};
    }
    feeds["input_ids"] = std::move(ids);
    feeds["attention_mask"] = std::move(mask);
    Outputs outputs = session.run(feeds);
    logits_ = std::move(outputs.at("logits"));
    if (logits_.shape.size() == 3) keep_last();
    return logits_;
  }

  void select(const Places& rows, std::size_t) override {
    TokenRows kept;
    for (const std::size_t row : rows) kept.push_back(rows_[row]);
    rows_ = std::move(kept);
  }

 private:
  // Of scores of every token, (B, S, V), those of each row's last.
  void keep_last() {
    const std::size_t tokens = size_of(logits_.shape[1]);
    Places last;
    for (std::size_t row = 0; row < rows_.size(); ++row) {
      last.push_back(row * tokens + rows_[row].size() - 1);
    }
    logits_.numbers = gather(logits_.numbers, size_of(logits_.shape[2]), last);
    logits_.shape.erase(logits_.shape.begin() + 1);
  }

  bool takes_types_;
  std::int64_t pad_id_;
  TokenRows rows_;
  Output logits_;
};

// The engine's own cache, which knows no padding.
class EngineCache : public Cache {
 public:
  explicit EngineCache(std::unique_ptr<SessionCache> own) : own_(std::move(own)) {}

  const Output& step(const Session&, Feed input_ids, Feed attention_mask) override {
    logits_ = own_->step(unpadded(input_ids, attention_mask));
    return logits_;
  }

  void select(const Places& rows, std::size_t) override { own_->select(rows); }

 private:
  std::unique_ptr<SessionCache> own_;
  Output logits_;
};

}  // namespace

bool keeps_cache(const bundle::GraphRecord& graph) {
  return std::any_of(graph.inputs.begin(), graph.inputs.end(), is_cache);
}

std::unique_ptr<Cache> open_cache(const Session& session, const bundle::GraphRecord& graph,
                                  std::int64_t pad_id, Feeds held) {
  if (!keeps_cache(graph)) return std::make_unique<Tokens>(graph, pad_id);
  if (std::unique_ptr<SessionCache> own = session.open_cache()) {
    return std::make_unique<EngineCache>(std::move(own));
  }
  return std::make_unique<KeyValues>(graph, std::move(held));
}

}  // namespace bert_export::sessions
