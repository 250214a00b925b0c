-- What Argo CD makes of a NodePortAccessPolicy. Lua 5.1; the rules are kstatus', but for Audit, which kstatus has no
-- word for. Argo CD sets obj, and takes the table that is returned.
local status = obj.status or {}

if obj.metadata.deletionTimestamp ~= nil then
  return { status = "Progressing", message = "The policy is being deleted." }
end
if status.observedGeneration ~= obj.metadata.generation then
  return { status = "Progressing", message = "The operator has not yet looked at the latest spec." }
end

local conditions = {}
for _, condition in ipairs(status.conditions or {}) do
  conditions[condition.type] = condition
end
local function holds(kind)
  return conditions[kind] ~= nil and conditions[kind].status == "True"
end
local function told(kind)
  return conditions[kind].reason .. ": " .. conditions[kind].message
end

if holds("Stalled") then
  return { status = "Degraded", message = told("Stalled") }
end
if holds("Reconciling") then
  return { status = "Progressing", message = told("Reconciling") }
end
if holds("Ready") then
  return { status = "Healthy", message = told("Ready") }
end
if conditions.Ready ~= nil and conditions.Ready.reason == "AuditMode" then
  return { status = "Suspended", message = told("Ready") }
end
return { status = "Progressing", message = "The operator has not said anything yet." }
