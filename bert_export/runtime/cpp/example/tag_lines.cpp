// Tags the lines of standard input: line number, bytes, entity, score and text, divided by tabs.
//
//     tag_lines BUNDLE < text > entities

#include <bert_export/errors.hpp>
#include <bert_export/pipelines.hpp>

#include <cstdio>
#include <iostream>
#include <string>

int main(int count, char** arguments) {
  if (count != 2) {
    std::cerr << "usage: tag_lines BUNDLE\n";
    return 2;
  }
  try {
    const auto tagger = bert_export::TokenClassification::open(arguments[1]);
    bert_export::TokenClassificationOptions options;
    options.aggregation_strategy = "simple";
    std::size_t number = 0;
    for (std::string line; std::getline(std::cin, line);) {
      ++number;
      for (const bert_export::Entity& entity : tagger(line, options)) {
        std::printf("%zu\t%u-%u\t%s\t%.4f\t%s\n", number, entity.byte_offsets.begin,
                    entity.byte_offsets.end, entity.entity.c_str(), entity.score,
                    entity.word.c_str());
      }
    }
  } catch (const bert_export::Error& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
  return 0;
}
