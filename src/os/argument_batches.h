// Splits long lists for programs that take them as arguments only. Pure.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace nixery::os {

// Linux accepts at least 128 KiB of arguments and environment together, even with a small stack limit.
inline constexpr std::size_t argument_bytes = 96u << 10;

// `words` in their order, in batches of at most `bytes` of command line each. A longer word is a batch of its own; no
// batch is empty.
std::vector<std::vector<std::string>> argument_batches(std::vector<std::string> words,
                                                       std::size_t bytes = argument_bytes);

}  // namespace nixery::os
