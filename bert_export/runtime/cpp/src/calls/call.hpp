// A call in JSON to a pipeline, and its answer in JSON.
#pragma once

#include <string>
#include <string_view>

#include "bert_export/pipelines.hpp"

namespace bert_export::calls {

// What json.dumps makes of the Python pipeline's answer to the same arguments, with `byte_start`
// and `byte_end` beside every `start` and `end`. Throws InputError where the call is malformed,
// else as the pipeline.
std::string call(const AnyPipeline& pipeline, std::string_view request);

// Continues or answers the one text of a call, piece by piece. Throws TaskError where the pipeline
// generates no text, and InputError where the call is malformed, else as the pipeline's stream.
void stream(const AnyPipeline& pipeline, std::string_view request, const ReceivePiece& receive);

// The options of an opening, an object with OpenOptions' names; all are the defaults where it is
// empty. Throws InputError.
OpenOptions read_open_options(std::string_view options);

}  // namespace bert_export::calls
