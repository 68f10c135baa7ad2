#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <csignal>

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);  // like the program: a child that closes its input must not end this process
  doctest::Context context(argc, argv);
  return context.run();
}
