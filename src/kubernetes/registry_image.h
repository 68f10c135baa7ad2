// An image as the registry has it: pulling its manifest is what builds it.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <stop_token>
#include <string>

#include "kubernetes/api_client.h"

namespace nixery::kubernetes {

struct PullResult {
  enum class State {
    built,
    building,     // not finished, or not begun: ask again
    not_taken,    // the registry answers for another declaration than the one that was written: ask again
    refused,      // what is declared cannot be built: its packages or tag do not exist, or are not allowed
    failed,       // nix could not build it
    unavailable,  // the registry does not answer as it should; says nothing about the image
  };
  State state = State::building;
  std::string reason;   // "UnknownPackage": of one word, as conditions want it
  std::string message;  // the registry's
  std::optional<std::chrono::seconds> retry_after;
  // Of a built one:
  std::string digest;
  std::uint64_t size = 0;    // bytes of config and layers; of an index, of its first platform
  std::uint64_t layers = 0;  // likewise
};

// What is pulled. `declaration` is the hash of what was declared: tags that are still of something else, and errors
// that are not about it, are not_taken.
struct Wanted {
  std::string registry;  // "http://127.0.0.1:8080"
  std::string name, tag, declaration;
};

// Asks once, and waits for as long as the registry keeps one request. Never throws Error: that is State::unavailable.
// `known` is of an earlier answer to the same; one with the same digest is not looked into again.
PullResult pull_image(const Wanted& wanted, const std::optional<PullResult>& known, const std::stop_token& stop);

// What an answer means that is no success.
PullResult meaning_of(const http_client::Response& response, const std::string& declaration);

// A result with only these fields.
PullResult make_result(PullResult::State state, const std::string& reason, const std::string& message);

}  // namespace nixery::kubernetes
