// A NixImage's status, made from the registry's answer. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "kubernetes/nix_image.h"
#include "kubernetes/registry_image.h"

namespace nixery::kubernetes {

// The status for a pull result, without transition times. `built`: the last successful build of the same declaration,
// if any.
ImageStatus status_of(const NixImage& image, const PullResult& pull, const std::optional<PullResult>& built,
                      const std::string& reference);

// What an earlier controller reported as built.
std::optional<PullResult> built_by(const ImageStatus& status);

// Whether the result only says that the build is in progress.
bool is_progress(const PullResult& pull);

const Condition* find_condition(const ImageStatus& status, std::string_view type);

}  // namespace nixery::kubernetes
