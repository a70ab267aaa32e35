// Embeds the lines of standard input and writes them to a file for numpy.load, float32 (N, D).
//
//     embed_lines BUNDLE vectors.npy < text

#include <bert_export/errors.hpp>
#include <bert_export/pipelines.hpp>

#include <cstdio>
#include <fstream>
#include <iostream>
#include <string>
#include <string_view>
#include <vector>

namespace {

constexpr std::size_t texts_per_call = 4096;

// The format's header, version 1.0, of 128 bytes whatever the number of rows, which is known at the
// end.
std::string npy_header(std::size_t rows, std::size_t columns) {
  constexpr std::size_t length = 118;
  std::string fields = "{'descr': '<f4', 'fortran_order': False, 'shape': (" + std::to_string(rows) +
                       ", " + std::to_string(columns) + "), }";
  fields.resize(length - 1, ' ');
  return std::string("\x93NUMPY\x01\x00", 8) + static_cast<char>(length) + '\0' + fields + '\n';
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 3) {
    std::cerr << "usage: embed_lines BUNDLE FILE.npy < text\n";
    return 2;
  }
  const std::string path = arguments[2];
  const std::string partial = path + ".partial";
  try {
    const auto embed = bert_export::SentenceEmbedding::open(arguments[1]);
    std::ofstream file(partial, std::ios::binary);
    file << npy_header(0, embed.dimension());
    std::size_t rows = 0;
    std::vector<std::string> lines;
    const auto write = [&] {
      const std::vector<std::string_view> texts(lines.begin(), lines.end());
      for (const std::vector<float>& vector : embed(texts)) {
        file.write(reinterpret_cast<const char*>(vector.data()),
                   static_cast<std::streamsize>(vector.size() * sizeof(float)));
      }
      rows += lines.size();
      lines.clear();
    };
    for (std::string line; std::getline(std::cin, line);) {
      lines.push_back(line);
      if (lines.size() == texts_per_call) write();
    }
    if (!lines.empty()) write();
    file.seekp(0);
    file << npy_header(rows, embed.dimension());
    file.close();
    if (!file || std::rename(partial.c_str(), path.c_str()) != 0) {
      std::cerr << "file " << path << " cannot be written\n";
      std::remove(partial.c_str());
      return 1;
    }
  } catch (const bert_export::Error& error) {
    std::cerr << error.what() << '\n';
    std::remove(partial.c_str());
    return 1;
  }
  return 0;
}
