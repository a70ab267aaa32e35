// Where an engine's shared library is: no engine is linked in.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace bert_export::sessions {

// What is told apart of an engine.
struct EngineLibrary {
  // Of the package on PyPI.
  const char* package;
  // Names the library, or the folder that holds it.
  const char* variable;
  // Below site-packages, that holds the library; a pattern.
  const char* folder;
  // Start of the library's file name.
  const char* stem;
  // What the system's loader finds it by.
  std::vector<const char*> names;
};

// Opens the library (dlopen with RTLD_LOCAL): the one that is asked for, that of the environment
// variable, that of the Python which `python3` starts, or the system's. It is never closed. Throws
// TargetError where there is none.
void* open_library(const EngineLibrary& engine, const std::string& asked);

// The one library that is open under a name that was asked for; `make` gives a new one to own.
template <typename Library, typename Make>
Library& opened_once(const std::string& asked, const Make& make) {
  // Never destroyed: at exit other threads may still run, and statics may still own sessions.
  static auto& mutex = *new std::mutex;
  static auto& opened = *new std::map<std::string, std::unique_ptr<Library>>;
  const std::lock_guard<std::mutex> lock(mutex);
  std::unique_ptr<Library>& library = opened[asked];
  if (library == nullptr) library.reset(make());
  return *library;
}

}  // namespace bert_export::sessions
