#include "bundle/files.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <vector>

namespace bert_export::bundle {
namespace {

constexpr std::size_t chunk_size = std::size_t{1} << 20U;

// A file that is open until the end of the scope.
class Descriptor {
 public:
  // O_NONBLOCK: a pipe without a writer must not be waited for.
  explicit Descriptor(const std::string& path)
      : number_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (number_ >= 0) ::close(number_);
  }
  int number() const { return number_; }

 private:
  int number_;
};

bool has_mode(const std::string& path, mode_t kind) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 && (status.st_mode & S_IFMT) == kind;
}

}  // namespace

std::string read_chunks(const std::string& path,
                        const std::function<void(std::string_view)>& visit) {
  const Descriptor file(path);
  struct stat status {};
  if (file.number() < 0 || ::fstat(file.number(), &status) != 0) return std::strerror(errno);
  if (!S_ISREG(status.st_mode)) return "no regular file";
  std::vector<char> chunk(chunk_size);
  while (true) {
    const ssize_t size = ::read(file.number(), chunk.data(), chunk.size());
    if (size == 0) return "";
    if (size > 0) {
      visit({chunk.data(), static_cast<std::size_t>(size)});
    } else if (errno != EINTR) {
      return std::strerror(errno);
    }
  }
}

bool is_file(const std::string& path) { return has_mode(path, S_IFREG); }

bool is_folder(const std::string& path) { return has_mode(path, S_IFDIR); }

}  // namespace bert_export::bundle
