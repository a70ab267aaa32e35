// Answers questions about a text: one question a line on standard input, one answer a line on
// standard output: score, bytes of the text and the answer, divided by tabs.
//
//     answer_questions BUNDLE text.txt < questions > answers

#include <bert_export/errors.hpp>
#include <bert_export/question_answering.hpp>

#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>

int main(int count, char** arguments) {
  if (count != 3) {
    std::cerr << "usage: answer_questions BUNDLE TEXT_FILE < questions\n";
    return 2;
  }
  std::ifstream file(arguments[2], std::ios::binary);
  const std::string context{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (!file) {
    std::cerr << "file " << arguments[2] << " cannot be read\n";
    return 1;
  }
  try {
    const auto answerer = bert_export::QuestionAnswering::open(arguments[1]);
    for (std::string question; std::getline(std::cin, question);) {
      for (const bert_export::Answer& answer : answerer({question, context})) {
        std::printf("%.4f\t%u-%u\t%s\n", answer.score, answer.byte_offsets.begin,
                    answer.byte_offsets.end, answer.answer.c_str());
      }
      std::fflush(stdout);
    }
  } catch (const bert_export::Error& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
  return 0;
}
