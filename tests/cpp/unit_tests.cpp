#include "check.hpp"

int main() { return tests::run_all(); }
