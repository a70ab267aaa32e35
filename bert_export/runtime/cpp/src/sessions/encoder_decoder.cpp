#include "sessions/encoder_decoder.hpp"

#include <utility>

namespace bert_export::sessions {
namespace {

// What a decoder calls a tensor of the encoder that it takes.
std::string decoder_name(const std::string& name) {
  const std::string present = "present.";
  if (name == "attention_mask") return "encoder_attention_mask";
  if (name.rfind(present, 0) == 0) return "past_key_values." + name.substr(present.size());
  return name;
}

}  // namespace

EncoderDecoderSession::EncoderDecoderSession(bundle::GraphRecord encoder_graph,
                                             std::unique_ptr<Session> encoder,
                                             std::unique_ptr<Session> decoder)
    : encoder_graph_(std::move(encoder_graph)),
      encoder_(std::move(encoder)),
      decoder_(std::move(decoder)) {}

Feeds EncoderDecoderSession::encode(const Feeds& text) const {
  Feeds feeds;
  for (const bundle::TensorSpec& spec : encoder_graph_.inputs) {
    const auto found = text.find(spec.name);
    if (found != text.end()) feeds.insert(*found);
  }
  Feeds held;
  for (auto& [name, output] : encoder_->run(feeds)) {
    held[decoder_name(name)] = {std::move(output.shape), {}, std::move(output.numbers)};
  }
  const std::string mask = "attention_mask";
  held[decoder_name(mask)] = text.at(mask);
  return held;
}

std::unique_ptr<Session> open_halves(
    const bundle::EngineRecord& engine, const SessionOptions& options,
    const std::function<std::unique_ptr<Session>(const bundle::EngineRecord&,
                                                 const SessionOptions&)>& open) {
  if (!engine.graph.encoder) return open(engine, options);
  bundle::EngineRecord half = engine;
  half.graph = *engine.graph.encoder;
  std::unique_ptr<Session> encoder = open(half, options);
  // A decoder has positions of its own.
  SessionOptions own = options;
  own.longest = engine.graph.longest;
  return std::make_unique<EncoderDecoderSession>(half.graph, std::move(encoder), open(engine, own));
}

}  // namespace bert_export::sessions
