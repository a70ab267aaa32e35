// Two graphs as one session: an encoder that runs once per text, and a decoder that attends to it.
#pragma once

#include <functional>
#include <memory>

#include "sessions/session.hpp"

namespace bert_export::sessions {

// A decoder's session, and that of the encoder beside it.
class EncoderDecoderSession : public Session {
 public:
  // `encoder_graph` is the encoder's interface.
  EncoderDecoderSession(bundle::GraphRecord encoder_graph, std::unique_ptr<Session> encoder,
                        std::unique_ptr<Session> decoder);

  // The decoder's inputs that belong to texts: keys and values of each, and the mask. `text` has
  // input_ids and attention_mask, (B, E), and perhaps more than the encoder takes.
  Feeds encode(const Feeds& text) const;

  // Runs the decoder.
  Outputs run(const Feeds& feeds) const override { return decoder_->run(feeds); }
  void run_into(const Feeds& feeds, Outputs& outputs) const override {
    decoder_->run_into(feeds, outputs);
  }

  // Of texts.
  std::size_t row_multiple() const override { return encoder_->row_multiple(); }

 private:
  bundle::GraphRecord encoder_graph_;
  std::unique_ptr<Session> encoder_;
  std::unique_ptr<Session> decoder_;
};

// Opens an engine's graph, and the encoder's beside it where there is one. `open` opens the single
// graph of an entry, whose rows have so many tokens at most.
std::unique_ptr<Session> open_halves(
    const bundle::EngineRecord& engine, const SessionOptions& options,
    const std::function<std::unique_ptr<Session>(const bundle::EngineRecord&,
                                                 const SessionOptions&)>& open);

}  // namespace bert_export::sessions
