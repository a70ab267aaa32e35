#include "json_writer.hpp"

namespace tests {

std::string to_json(bert_export::Span span) {
  return "[" + std::to_string(span.begin) + "," + std::to_string(span.end) + "]";
}

std::string to_json(const bert_export::Encoded& row) {
  return "{\"ids\":" + to_json(row.ids) + ",\"type_ids\":" + to_json(row.type_ids) +
         ",\"tokens\":" + to_json(row.tokens) + ",\"offsets\":" + to_json(row.offsets) +
         ",\"byte_offsets\":" + to_json(row.byte_offsets) + ",\"word_ids\":" + to_json(row.word_ids) +
         ",\"sequence_ids\":" + to_json(row.sequence_ids) +
         ",\"special_tokens_mask\":" + to_json(row.special_tokens_mask) + "}";
}

}  // namespace tests
