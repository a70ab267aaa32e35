// Programs of the native target: which are refused, and that neighbours, threads and sets of kernels
// change no answer.
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <random>
#include <thread>

#include "bert_export/errors.hpp"
#include "check.hpp"
#include "native/cache.hpp"
#include "native/program.hpp"
#include "native_programs.hpp"

using namespace bert_export::native;  // NOLINT
using bert_export::BundleError;
using bert_export::InputError;
using tests::Choose;

namespace {

Choose choices(unsigned seed) {
  return [engine = std::mt19937(seed)](std::uint32_t below) mutable {
    return static_cast<std::uint32_t>(engine() % below);
  };
}

std::string replaced(std::string text, const std::string& old, const std::string& with) {
  const std::size_t place = text.find(old);
  if (place == text.npos) tests::fail(__FILE__, __LINE__, "nothing to replace: " + old);
  return text.replace(place, old.size(), with);
}

// A program of every kind of operation but those of masks.
const char* const small_json = R"({"schema":1,"weights":"weights.data",
"interface":{"inputs":[{"name":"input_ids","dtype":"int64","shape":["batch","sequence"]},
{"name":"attention_mask","dtype":"int64","shape":["batch","sequence"],"below":null},
{"name":"token_type_ids","dtype":"int64","shape":["batch","sequence"],"below":2}],
"outputs":[{"name":"y","dtype":"float32","shape":["batch","sequence",6]}]},
"inputs":["input_ids","token_type_ids"],
"tensors":{"word":{"dtype":"float32","shape":[5,4],"offset":0},
"type":{"dtype":"float32","shape":[2,4],"offset":128},
"w":{"dtype":"int8","shape":[4,6],"offset":192},
"row":{"dtype":"float32","shape":[4],"offset":256},
"scale":{"dtype":"float32","shape":[6],"offset":320}},
"values":{"e":{"rows":"tokens","width":4,"dtype":"float32"},
"q":{"rows":"tokens","width":4,"dtype":"uint8","scale":0.5,"zero_point":7},
"y":{"rows":"tokens","width":6,"dtype":"float32"}},
"operations":[{"kind":"embed","outputs":["e","q"],"word":"word","word_scale":null,
"token_type":"type","position":"word","gamma":"row","beta":"row","epsilon":1e-12},
{"kind":"linear","outputs":["y"],"x":"q","weight":"w","weight_scale":"scale","transposed":false,
"bias":null,"activation":"relu","residual":null}],
"outputs":[{"name":"y","value":"y","column":null}]})";

std::string small_weights() {
  const std::vector<float> ones(96, 1.0F);
  return {reinterpret_cast<const char*>(ones.data()), ones.size() * sizeof(float)};
}

}  // namespace

TEST(programs_that_are_not_legal_are_refused) {
  tests::ProgramFiles(small_json, small_weights()).open("reference");
  const std::vector<std::array<std::string, 3>> cases{
      {R"("schema":1)", R"("schema":3)", "expected schema 1 or 2, got 3"},
      {R"("schema":1)", R"("schema":2)", "expected caches in schema 2 and in no other"},
      {R"("schema":1)", R"("schema":1,"more":0)", "got field 'more'"},
      {R"("offset":192)", R"("offset":191)", "in whole 64 bytes"},
      {R"("offset":192)", R"("offset":384)", "inside the weights file"},
      {R"("offset":192)", R"("offset":9223372036854775744)", "inside the weights file"},
      {R"("offset":192)", R"("offset":-64)", "offset of tensor 'w' from 0"},
      {R"("shape":[4,6])", R"("shape":[4,2147483647])", "of less than 2^31 numbers"},
      {R"("shape":[4,6])", R"("shape":[])", "one or two axes"},
      {R"("shape":[4,6])", R"("shape":[6,4])", "as int8 (4, 6)"},
      {R"("shape":[4,6])", R"("shape":[0,6])", "size of tensor 'w' from 1"},
      {R"("dtype":"int8")", R"("dtype":"int4")", "one of float32, int8"},
      {R"("scale":0.5)", R"("scale":0)", "finite and above 0"},
      {R"("scale":0.5)", R"("scale":1e300)", "finite and above 0"},
      {R"("zero_point":7)", R"("zero_point":256)", "from 0 to 255"},
      {R"("width":6)", R"("width":65536)", "from 1 to 65535"},
      {R"("width":6)", R"("width":7)", "expected linear operation 1's weight"},
      {R"("rows":"tokens","width":6)", R"("rows":"texts","width":6)", "of other rows"},
      {R"("rows":"tokens","width":6,"dtype":"float32"})",
       R"("rows":"tokens","width":6,"dtype":"float32","scale":1.0})", "of uint8 alone"},
      {R"("outputs":["y"])", R"("outputs":["q"])", "one operation that writes value 'q'"},
      {R"("outputs":["y"])", R"("outputs":[])", "at least one output"},
      {R"("outputs":["e","q"])", R"("outputs":["e"])", "written by an operation before it"},
      {R"("x":"q")", R"("x":"y")", "written by an operation before it"},
      {R"("weight_scale":"scale")", R"("weight_scale":null)", "weight_scale"},
      {R"("residual":null)", R"("residual":"q")", "in float32"},
      {R"("residual":null)", R"("residual":"e")", "of width 6"},
      {R"("activation":"relu")", R"("activation":"elu")", "activation that is one of"},
      {R"("transposed":false,)", "", "transposed is missing"},
      {R"("epsilon":1e-12)", R"("epsilon":0)", "epsilon that is finite and above 0"},
      {R"("kind":"linear")", R"("kind":"conv")", "an operation of its schema"},
      {R"("value":"y")", R"("value":"q")", "in float32"},
      {R"("column":null)", R"("column":6)", "column from 0 to 5"},
      {R"("token_type_ids"])", R"("token_type_ids","pooling_mask"])", "named exactly where"},
      {R"(["input_ids",)", R"(["ids",)", "inputs input_ids, token_type_ids"},
      {R"("schema":1,)", R"("schema":1)", "the JSON of a program"},
      {R"("weights":"weights.data")", R"("weights":"../weights.data")", "weights weights.data"},
      {R"("scale":0.5)", R"("scale":1e-39)", "from 2^-126 to 2^126"},
      {R"("scale":0.5)", R"("scale":0.3)", "that is a float32"},
      {R"("name":"attention_mask")", R"("name":"mask")", "have 'attention_mask' 'int64' ("},
      {R"("name":"attention_mask")", R"("name":"input_ids")", "'attention_mask'"},
      {R"({"name":"input_ids","dtype":"int64")", R"({"name":"input_ids","dtype":"int32")", "got 'input_ids' 'int32'"},
      {R"("shape":["batch","sequence"])", R"("shape":["batch"])", "got 'input_ids' 'int64' ('batch')"},
      {R"("shape":["batch","sequence"])", R"("shape":[])", "got 'input_ids' 'int64' ()"},
      {R"("shape":["batch","sequence"])", R"("shape":[null])", "the JSON of a program"},
      {R"("below":2}])", R"("below":2},7])", "the JSON of a program"},
      {R"("sequence",6])", R"("sequence",7])", "('batch', 'sequence', 6), got"},
      {R"("sequence",6])", R"("sequence"])", "got 'y' 'float32' ('batch', 'sequence')"},
      {R"("outputs":[{"name":"y","dtype")", R"("outputs":[{"name":"x","dtype")", "got 'x'"},
      {R"("column":null)", R"("column":0)", "have 'y' 'float32' ('batch', 'sequence')"},
  };
  for (const auto& [old, with, said] : cases) {
    const tests::ProgramFiles files(replaced(small_json, old, with), small_weights());
    const std::string message = tests::message_of<BundleError>([&] { files.open("reference"); });
    if (message.find(said) == message.npos || message.find("is not legal") == message.npos) {
      tests::fail(__FILE__, __LINE__, with + " gave: " + message);
    }
  }
}

TEST(weights_that_are_short_or_no_numbers_are_refused) {
  const tests::ProgramFiles cut(small_json, small_weights().substr(0, 340));
  CHECK(tests::message_of<BundleError>([&] { cut.open(""); }).find("inside the weights file") !=
        std::string::npos);
  std::string weights = small_weights();
  const float none = NAN;
  weights.replace(324, sizeof(none), reinterpret_cast<const char*>(&none), sizeof(none));
  const tests::ProgramFiles wrong(small_json, weights);
  CHECK(tests::message_of<BundleError>([&] { wrong.open(""); }).find("scales of weights") !=
        std::string::npos);
}

TEST(inputs_that_have_no_row_are_refused) {
  const tests::ProgramFiles files(small_json, small_weights());
  const auto program = files.open("");
  const auto message = [&](std::vector<std::int64_t> ids, std::vector<std::int64_t> types,
                           std::vector<std::int64_t> lengths) {
    tests::DrawnBatch batch{std::move(ids), std::move(types), std::move(lengths), {}, {}};
    return tests::message_of<InputError>([&] { program->run(batch.view()); });
  };
  CHECK(message({5}, {0}, {1}).find("input input_ids holds") == 0);
  CHECK(message({-1}, {0}, {1}).find("input input_ids holds") == 0);
  CHECK(message({1}, {2}, {1}).find("input token_type_ids holds") == 0);
  CHECK(message({1, 1}, {0, 0}, {1}).find("lengths do not add up") == 0);
  CHECK(message({1, 1}, {0, 0}, {2, 0}).find("input lengths holds") == 0);
  CHECK(message(std::vector<std::int64_t>(6, 1), std::vector<std::int64_t>(6, 0), {6})
            .find("input lengths holds") == 0);
  CHECK(message({}, {}, {}).find("a batch is of the wrong size") == 0);
  tests::DrawnBatch masked{{1}, {0}, {1}, {0}, {}};
  CHECK(tests::message_of<InputError>([&] { program->run(masked.view()); })
            .find("input masked_positions is not of the program") == 0);
  CHECK(tests::message_of<InputError>([&] { files.open("sse9"); }).find("isa is none") == 0);
}

TEST(every_set_of_kernels_gives_the_reference_s_answers) {
  for (unsigned seed = 0; seed < 16; ++seed) {
    const Choose choose = choices(seed);
    const tests::DrawnProgram drawn = tests::draw_program(choose, 100, 16);
    const tests::DrawnBatch batch = tests::draw_batch(drawn, choose, 6, 40);
    const tests::ProgramFiles files(drawn);
    const auto wanted = files.open("reference")->run(batch.view());
    for (const InstructionSet set : available_sets()) {
      const auto got = files.open(name_of(set))->run(batch.view());
      // A number that is rounded the other way moves what follows; a wrong one moves it far.
      CHECK(tests::furthest(wanted, got) < 0.05F);
    }
  }
}

TEST(a_text_s_answer_depends_on_no_neighbour_and_on_no_thread) {
  for (unsigned seed = 100; seed < 106; ++seed) {
    const Choose choose = choices(seed);
    const tests::DrawnProgram drawn = tests::draw_program(choose, 70, 4);
    const tests::DrawnBatch batch = tests::draw_batch(drawn, choose, 40, 60);
    const tests::ProgramFiles files(drawn);
    const auto alone = files.open("", 1);
    const auto together = alone->run(batch.view());
    CHECK_EQUAL(tests::furthest(together, files.open("", 3)->run(batch.view())), 0.0F);
    std::vector<std::size_t> places(together.size(), 0);
    for (std::size_t text = 0; text < batch.lengths.size() && batch.masks.empty(); ++text) {
      const auto own = alone->run(batch.text(text).view());
      for (std::size_t index = 0; index < own.size(); ++index) {
        for (const float number : own[index].numbers) {
          CHECK_EQUAL(number, together[index].numbers[places[index]++]);
        }
      }
    }
  }
}

namespace {

struct DrawnCached {
  tests::DrawnProgram program;
  tests::DrawnBatch batch;  // of texts that can be cut in parts
};

DrawnCached draw_cached(unsigned seed, std::int64_t parts) {
  const Choose choose = choices(seed);
  DrawnCached drawn;
  do {
    drawn.program = tests::draw_program(choose, 100, 8);
  } while (!drawn.program.cached);
  do {
    drawn.batch = tests::draw_batch(drawn.program, choose, 9, 50);
  } while (*std::min_element(drawn.batch.lengths.begin(), drawn.batch.lengths.end()) < parts);
  return drawn;
}

// The answers of some tokens of each text: those of a part, or the last of the text.
std::vector<float> last_answers(const Result& result, const tests::DrawnBatch& batch) {
  std::vector<float> numbers;
  const std::size_t texts = batch.lengths.size();
  const bool of_texts = result.rows == texts && batch.ids.size() != texts;
  std::size_t row = 0;
  for (std::size_t text = 0; text < texts; ++text) {
    row += of_texts ? 1 : static_cast<std::size_t>(batch.lengths[text]);
    const auto last = result.numbers.begin() + static_cast<std::ptrdiff_t>(row * result.width);
    numbers.insert(numbers.end(), last - static_cast<std::ptrdiff_t>(result.width), last);
  }
  return numbers;
}

void check_near(const std::vector<float>& wanted, const std::vector<float>& got) {
  CHECK_EQUAL(wanted.size(), got.size());
  float largest = 1.0F;
  float away = 0.0F;
  for (std::size_t place = 0; place < wanted.size(); ++place) {
    largest = std::max(largest, std::fabs(wanted[place]));
    const float own = std::fabs(wanted[place] - got[place]);
    if (!(own <= away)) away = own;
  }
  CHECK(away / largest < 0.05F);
}

}  // namespace

TEST(tokens_behind_a_cache_are_answered_as_all_at_once) {
  constexpr std::size_t parts = 4;
  for (unsigned seed = 200; seed < 212; ++seed) {
    const DrawnCached drawn = draw_cached(seed, parts);
    const tests::ProgramFiles files(drawn.program);
    const auto wanted = files.open("reference")->run(drawn.batch.view());
    for (const InstructionSet set : available_sets()) {
      const auto program = files.open(name_of(set), 1 + seed % 3);
      Cache cache(program->file());
      std::vector<Result> got;
      tests::DrawnBatch part;
      // Three quarters, one token after the other, then the last quarter in one.
      for (std::size_t first = 0; first < parts; first += first == 0 ? 2 : 1) {
        part = drawn.batch.part(first, first == 0 ? 2 : first + 1, parts);
        Batch view = part.view();
        view.cache = &cache;
        got = program->run(view);
      }
      for (std::size_t index = 0; index < got.size(); ++index) {
        check_near(last_answers(wanted[index], drawn.batch), last_answers(got[index], part));
      }
      for (std::size_t text = 0; text < cache.texts(); ++text) {
        CHECK_EQUAL(cache.length(text), static_cast<std::size_t>(drawn.batch.lengths[text]));
      }
    }
  }
}

TEST(texts_of_a_cache_leave_and_change_places) {
  const DrawnCached drawn = draw_cached(300, 2);
  const tests::ProgramFiles files(drawn.program);
  const auto program = files.open("", 2);
  const auto with = [&](const tests::DrawnBatch& batch, Cache& cache) {
    Batch view = batch.view();
    view.cache = &cache;
    return program->run(view);
  };
  const std::size_t texts = drawn.batch.lengths.size();
  const std::vector<std::size_t> places{texts - 1, 0, texts - 1};
  Cache cache(program->file());
  with(drawn.batch.part(0, 1, 2), cache);
  cache.select(places);
  tests::DrawnBatch chosen;
  for (const std::size_t place : places) {
    const tests::DrawnBatch own = drawn.batch.part(1, 2, 2).text(place);
    chosen.ids.insert(chosen.ids.end(), own.ids.begin(), own.ids.end());
    chosen.types.insert(chosen.types.end(), own.types.begin(), own.types.end());
    chosen.lengths.push_back(own.lengths.front());
  }
  const auto together = with(chosen, cache);
  for (std::size_t index = 0; index < places.size(); ++index) {
    Cache alone(program->file());
    with(drawn.batch.text(places[index]).part(0, 1, 2), alone);
    const auto own = with(chosen.text(index), alone);
    const auto width = static_cast<std::ptrdiff_t>(own.front().width);
    const auto wanted = last_answers(own.front(), chosen.text(index));
    const auto got = last_answers(together.front(), chosen);
    const auto first = got.begin() + static_cast<std::ptrdiff_t>(index) * width;
    CHECK(std::equal(wanted.begin(), wanted.end(), first));
  }
}

TEST(several_caches_grow_at_once) {
  const DrawnCached drawn = draw_cached(600, 3);
  const tests::ProgramFiles files(drawn.program);
  const auto program = files.open("", 2);
  const std::size_t texts = drawn.batch.lengths.size();
  // Every part's last result; texts leave and come back between the parts.
  const auto grow = [&] {
    Cache cache(program->file());
    std::vector<float> numbers;
    for (std::size_t part = 0; part < 3; ++part) {
      const tests::DrawnBatch own = drawn.batch.part(part, part + 1, 3);
      Batch view = own.view();
      view.cache = &cache;
      for (const Result& result : program->run(view)) {
        numbers.insert(numbers.end(), result.numbers.begin(), result.numbers.end());
      }
      std::vector<std::size_t> places;
      for (std::size_t text = 0; text < texts; ++text) places.push_back(texts - 1 - text);
      cache.select(places);
      cache.select(places);
    }
    return numbers;
  };
  const std::vector<float> wanted = grow();
  std::vector<std::thread> callers;
  std::vector<int> differences(4, 0);
  for (int& own : differences) {
    callers.emplace_back([&] {
      for (int round = 0; round < 8; ++round) own += grow() != wanted;
    });
  }
  for (std::thread& caller : callers) caller.join();
  for (const int own : differences) CHECK_EQUAL(own, 0);
}

TEST(long_texts_and_tokens_behind_them_are_answered_as_by_the_reference) {
  for (unsigned seed = 700; seed < 704; ++seed) {
    const Choose choose = choices(seed);
    tests::DrawnProgram drawn;
    do {
      drawn = tests::draw_program(choose, 40, 16, 512);
    } while (!drawn.cached);
    const std::int64_t past = 1 + choose(440);
    const std::int64_t length = 1 + choose(static_cast<std::uint32_t>(512 - past));
    const auto tokens = [&](std::int64_t count) {
      tests::DrawnBatch own;
      own.lengths = {count};
      own.types.assign(static_cast<std::size_t>(count), 0);
      for (std::int64_t token = 0; token < count; ++token) own.ids.push_back(choose(drawn.words));
      return own;
    };
    const tests::DrawnBatch parts[] = {tokens(past), tokens(length)};
    const tests::ProgramFiles files(drawn);
    std::vector<Result> wanted;
    for (const InstructionSet set : available_sets()) {
      const auto program = files.open(name_of(set), 2);
      Cache cache(program->file());
      std::vector<Result> got;
      for (const tests::DrawnBatch& part : parts) {
        Batch view = part.view();
        view.cache = &cache;
        got = program->run(view);
      }
      if (wanted.empty()) wanted = got;  // the reference comes first
      CHECK(tests::furthest(wanted, got) < 0.05F);
    }
  }
}

TEST(caches_that_do_not_fit_are_refused_and_stay_as_they_were) {
  const DrawnCached drawn = draw_cached(400, 2);
  const tests::ProgramFiles files(drawn.program);
  const auto program = files.open("", 2);
  const auto message = [&](const tests::DrawnBatch& batch, Cache& cache) {
    Batch view = batch.view();
    view.cache = &cache;
    return tests::message_of<InputError>([&] { program->run(view); });
  };
  Cache cache(program->file());
  tests::DrawnBatch wrong = drawn.batch;
  wrong.ids.back() = 1000;
  CHECK(message(wrong, cache).find("input input_ids holds") == 0);
  CHECK_EQUAL(cache.texts(), std::size_t{0});
  Batch view = drawn.batch.view();
  view.cache = &cache;
  program->run(view);
  tests::DrawnBatch more;
  more.lengths.assign(drawn.batch.lengths.size() + 1, 1);
  more.ids.assign(more.lengths.size(), 0);
  more.types = more.ids;
  CHECK(message(more, cache).find("cache is of other texts") == 0);
  tests::DrawnBatch longer = drawn.batch;
  for (std::int64_t& length : longer.lengths) length = 60;
  longer.ids.assign(60 * longer.lengths.size(), 1);
  longer.types.assign(longer.ids.size(), 0);
  CHECK(message(longer, cache).find("text 0 is longer than the model takes") == 0);
  for (std::size_t text = 0; text < cache.texts(); ++text) {
    CHECK_EQUAL(cache.length(text), static_cast<std::size_t>(drawn.batch.lengths[text]));
  }
  CHECK(tests::message_of<InputError>([&] { cache.select({}); }).find("a cache of no text") == 0);
  CHECK(tests::message_of<InputError>([&] { cache.select({99}); }).find("cache has no text 99") == 0);
  const tests::ProgramFiles plain(small_json, small_weights());
  Cache none(plain.open("")->file());
  CHECK(message(drawn.batch, none).find("cache is of another program") == 0);
}

TEST(caches_that_are_not_legal_are_refused) {
  const std::string json = draw_cached(500, 1).program.json;
  const std::string weights = draw_cached(500, 1).program.weights;
  tests::ProgramFiles(json, weights).open("reference");
  const std::vector<std::array<std::string, 3>> cases{
      {R"("schema":2)", R"("schema":1)", "caches in schema 2 and in no other"},
      {R"("cache":0)", R"("cache":9)", "cache from 0 to"},
      {R"("cache":0)", R"("cache":null)", "an attention that has cache 0"},
      {R"("past_key":"past_key0",)", "", "past_key is missing"},
      {R"("past_key":"past_key0")", R"("past_key":"past_value0")", "of the caches, got two"},
      {R"("past_key":"past_key0")", R"("past_key":"past_key0","more":0)", "got field 'more'"},
      {R"("past_key":"past_key0")", R"("past_key":"past")", "got 'past_key0'"},
      {R"("past_key":"past_key0")", R"("past_key":"input_ids")", "interface's inputs"},
      {R"("present_key":"present_key0")", R"("present_key":"present")", "got 'present_key0'"},
      {R"("total"])", R"("sequence"])", "have 'attention_mask' 'int64' ('batch', 'total')"},
      {R"("past",)", R"("past",1)", "interface's inputs to have 'past_key0' 'float32' ('batch'"},
  };
  for (const auto& [old, with, said] : cases) {
    const tests::ProgramFiles files(replaced(json, old, with), weights);
    const std::string message = tests::message_of<BundleError>([&] { files.open("reference"); });
    if (message.find(said) == message.npos || message.find("is not legal") == message.npos) {
      tests::fail(__FILE__, __LINE__, with + " gave: " + message);
    }
  }
}

TEST(a_program_serves_several_threads_and_a_child) {
  const Choose choose = choices(7);
  const tests::DrawnProgram drawn = tests::draw_program(choose, 64, 4);
  const tests::DrawnBatch batch = tests::draw_batch(drawn, choose, 20, 40);
  const tests::ProgramFiles files(drawn);
  const auto program = files.open("", 3);
  const auto wanted = program->run(batch.view());
  std::vector<std::thread> callers;
  std::vector<float> away(4, 1.0F);
  for (float& own : away) {
    callers.emplace_back([&] {
      for (int round = 0; round < 20; ++round) own = tests::furthest(wanted, program->run(batch.view()));
    });
  }
  for (std::thread& caller : callers) caller.join();
  for (const float own : away) CHECK_EQUAL(own, 0.0F);
#if !defined(__SANITIZE_THREAD__)
  // A child has none of its parent's threads, and starts its own.
  const pid_t child = ::fork();
  if (child == 0) ::_exit(tests::furthest(wanted, program->run(batch.view())) == 0.0F ? 0 : 1);
  int status = 1;
  CHECK_EQUAL(::waitpid(child, &status, 0), child);
  CHECK_EQUAL(status, 0);
#endif
}
