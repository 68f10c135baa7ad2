#include "os/argument_batches.h"

#include <utility>

namespace nixery::os {

std::vector<std::vector<std::string>> argument_batches(std::vector<std::string> words, std::size_t bytes) {
  std::vector<std::vector<std::string>> batches;
  std::size_t used = 0;
  for (std::string& word : words) {
    const std::size_t cost = word.size() + 1 + sizeof(char*);
    if (batches.empty() || used + cost > bytes) {
      batches.emplace_back();
      used = 0;
    }
    used += cost;
    batches.back().push_back(std::move(word));
  }
  return batches;
}

}  // namespace nixery::os
