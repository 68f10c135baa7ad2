// An image as the registry has it: pulling its manifest is what builds it.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "kubernetes/api_client.h"

namespace nixery::kubernetes {

struct Pull {
  enum class Outcome {
    built,
    building,     // not finished, or not begun: ask again
    refused,      // what is declared cannot be built: its packages or tag do not exist, or are not allowed
    failed,       // nix could not build it
    unavailable,  // the registry does not answer as it should; says nothing about the image
  };
  Outcome outcome = Outcome::building;
  std::string reason;   // "UnknownPackage": of one word, as conditions want it
  std::string message;  // the registry's
  std::optional<std::chrono::seconds> retry_after;
  // Of a built one:
  std::string digest;
  std::uint64_t size = 0;    // bytes of config and layers; of an index, of its first platform
  std::uint64_t layers = 0;  // likewise
};

// Waits for as long as the registry redirects it to itself. Never throws Error: that is Outcome::unavailable.
Pull pull_image(const std::string& registry, const std::string& name, const std::string& tag,
                const std::atomic<bool>& stop);

// What an answer to a pull of a tag means, where it is no index.
Pull meaning_of(const Response& response);

}  // namespace nixery::kubernetes
