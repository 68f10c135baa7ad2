// Limits the images of a namespace: the oldest ones are allowed. Pure; every controller computes the same.
#pragma once

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "kubernetes/nix_image.h"

namespace nixery::kubernetes {

// Not thread-safe.
class Quota {
 public:
  // Limit of images in a namespace; 0: none.
  explicit Quota(unsigned most) : most_(most) {}

  // Both return the keys of other images that came to exceed the quota by it, or no longer do.
  std::vector<std::string> add(const NixImage& image);
  std::vector<std::string> remove(const std::string& key);
  void clear();

  // Whether it exceeds the quota. Images of the same second are ordered by name.
  bool is_over(const std::string& key) const;

 private:
  using Age = std::pair<std::string, std::string>;  // creation time and key
  // The first image over the quota; empty if none is.
  std::string first_over(const std::string& namespace_name) const;

  unsigned most_;
  std::map<std::string, std::set<Age>> namespaces_;
  std::map<std::string, std::string> created_;  // by key
};

}  // namespace nixery::kubernetes
