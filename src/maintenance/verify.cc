#include "maintenance/verify.h"

#include <algorithm>

#include "maintenance/findings.h"
#include "maintenance/maintenance_lock.h"
#include "maintenance/verify_attached.h"
#include "maintenance/verify_blobs.h"
#include "maintenance/verify_manifests.h"
#include "maintenance/verify_state.h"
#include "maintenance/verify_tags.h"

namespace nixery::maintenance {

bool Verification::sound() const {
  return std::all_of(problems.begin(), problems.end(), [](const Problem& problem) { return problem.repaired; });
}

Verification verify(const std::shared_ptr<const tree::BlobStore>& store, const VerifyOptions& options) {
  const auto only_one = maintenance_lock(*store);
  const tree::Tree tree(store);
  Findings findings(options);
  store->check_shape([&](tree::BlobStore::Fault fault, const std::function<void()>& repair) {
    bool is_repaired = false;
    const auto fix = [&] {
      repair();
      is_repaired = true;
    };
    if (!fault.is_harmless || findings.repairs())
      findings.problem(fault.what, std::move(fault.name), std::move(fault.message), fix);
    return is_repaired;
  });
  const DiffIds diff_ids = verify_blobs(findings, tree);
  verify_manifests(findings, tree, diff_ids);
  let_attach_again(findings, tree);
  verify_tags(findings, tree);
  verify_attached(findings, tree);
  verify_state(findings, tree);
  return findings.take();
}

}  // namespace nixery::maintenance
