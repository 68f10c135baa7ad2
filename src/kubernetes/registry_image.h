// Pulls an image's manifest from the registry, which builds it.
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
    building,     // not finished, or not started: retry
    not_taken,    // the registry still serves another declaration than the written one: retry
    refused,      // the declaration cannot be built: its packages or tag do not exist or are not allowed
    failed,       // Nix could not build it
    unavailable,  // the registry fails; says nothing about the image
  };
  State state = State::building;
  std::string reason;   // "UnknownPackage": one word, as conditions require
  std::string message;  // the registry's
  std::optional<std::chrono::seconds> retry_after;
  // If it is built:
  std::string digest;
  std::uint64_t size = 0;    // bytes of config and layers; for an index, those of its first platform
  std::uint64_t layers = 0;  // for an index, those of its first platform
};

// The image to pull. `declaration` is its declaration's hash: tags and errors of another declaration give not_taken.
struct Wanted {
  std::string registry;  // "http://127.0.0.1:8080"
  std::string name, tag, declaration;
};

// Sends one request and waits as long as the registry holds it. Never throws Error: failures are State::unavailable.
// `known` is an earlier result; if the digest is the same, the manifest is not fetched again.
PullResult pull_image(const Wanted& wanted, const std::optional<PullResult>& known, const std::stop_token& stop);

// Interprets an unsuccessful response.
PullResult meaning_of(const http_client::Response& response, const std::string& declaration);

// A result with only these fields.
PullResult make_result(PullResult::State state, const std::string& reason, const std::string& message);

}  // namespace nixery::kubernetes
