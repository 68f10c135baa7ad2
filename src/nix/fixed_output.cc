#include "nix/fixed_output.h"

#include <algorithm>
#include <array>

namespace nixery::nix {

bool is_fixed_output(std::string_view derivation) {
  // Derive([("out","/nix/store/…","sha256","<hash>")],…
  constexpr std::string_view head = "Derive([(\"", between = "\",\"";
  if (!derivation.starts_with(head)) return false;
  derivation.remove_prefix(head.size());
  for (int field = 0; field < 3; ++field) {  // name, path, algorithm
    const auto end = derivation.find(between);
    if (end == derivation.npos) return false;
    derivation.remove_prefix(end + between.size());
  }
  return !derivation.empty() && derivation.front() != '"';
}

bool tells_of_network(std::string_view line) {
  constexpr std::array<std::string_view, 14> words = {"Could not resolve",
                                                      "Couldn't resolve",
                                                      "Temporary failure in name resolution",
                                                      "unable to resolve host address",
                                                      "Failed to connect to",
                                                      "Couldn't connect to server",
                                                      "Connection refused",
                                                      "Connection reset by peer",
                                                      "Connection timed out",
                                                      "Operation timed out",
                                                      "Network is unreachable",
                                                      "No route to host",
                                                      "The requested URL returned error: 5",
                                                      "curl: (28)"};
  return std::any_of(words.begin(), words.end(), [=](auto text) { return line.find(text) != line.npos; });
}

}  // namespace nixery::nix
