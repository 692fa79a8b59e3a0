// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IERC165} from "@openzeppelin/contracts/interfaces/IERC165.sol";
import {IERC721} from "@openzeppelin/contracts/interfaces/IERC721.sol";
import {IERC721Metadata} from "@openzeppelin/contracts/interfaces/IERC721Metadata.sol";
import {IERC2981} from "@openzeppelin/contracts/interfaces/IERC2981.sol";
import {IERC721Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {ERC721Utils} from "@openzeppelin/contracts/token/ERC721/utils/ERC721Utils.sol";
import {Pausable} from "@openzeppelin/contracts/utils/Pausable.sol";
import {Strings} from "@openzeppelin/contracts/utils/Strings.sol";
import {IERC5192} from "./IERC5192.sol";
import {Reasons} from "./Reasons.sol";
import {Tickets} from "./Tickets.sol";
import {EventWord, Slot} from "./Words.sol";

/// @title The tickets as wallets and markets see them: ERC-721 with metadata, royalties (ERC-2981) and lock (ERC-5192)
abstract contract HolderTickets is Pausable, Tickets, IERC721Metadata, IERC2981, IERC721Errors {
    string public name;
    string public symbol;

    string internal _baseURI;
    address internal _royaltyReceiver;

    mapping(address owner => mapping(address operator => bool)) public isApprovedForAll;

    // -- Owners ---------------------------------------------------------------

    /// @inheritdoc IERC721
    function balanceOf(address owner) external view returns (uint256) {
        if (owner == address(0)) revert ERC721InvalidOwner(address(0));
        return owner == address(this) ? _inCustody() : _balances[owner];
    }

    /// @inheritdoc IERC721
    function ownerOf(uint256 tokenId) public view returns (address) {
        _requireIssued(tokenId);
        return _shown(_tickets[tokenId].slot.owner());
    }

    /// How many tickets are in no wallet.
    function _inCustody() internal view virtual returns (uint256);

    function _requireIssued(uint256 tokenId) internal view returns (EventWord rules) {
        rules = _events[tokenId >> 32];
        if (uint32(tokenId) >= rules.issued()) revert ERC721NonexistentToken(tokenId);
    }

    // -- Approvals ------------------------------------------------------------

    /// @inheritdoc IERC721
    function approve(address to, uint256 tokenId) external {
        address owner = ownerOf(tokenId);
        // Nobody can call as the custodian, and it has no operators: tickets in custody have no approvals.
        if (msg.sender != owner && !isApprovedForAll[owner][msg.sender]) revert ERC721InvalidApprover(msg.sender);
        Ticket storage ticket = _tickets[tokenId];
        ticket.approved = to;
        ticket.slot = ticket.slot.withApproval(to != address(0));
        emit Approval(owner, to, tokenId);
    }

    /// @inheritdoc IERC721
    function getApproved(uint256 tokenId) public view returns (address) {
        _requireIssued(tokenId);
        Ticket storage ticket = _tickets[tokenId];
        return ticket.slot.approved() ? ticket.approved : address(0);
    }

    /// @inheritdoc IERC721
    function setApprovalForAll(address operator, bool approved) external {
        if (operator == address(0)) revert ERC721InvalidOperator(address(0));
        isApprovedForAll[msg.sender][operator] = approved;
        emit ApprovalForAll(msg.sender, operator, approved);
    }

    // -- Transfers by holders -------------------------------------------------

    /// @inheritdoc IERC721
    function transferFrom(address from, address to, uint256 tokenId) public whenNotPaused {
        if (to == address(0)) revert ERC721InvalidReceiver(address(0));
        _requireAuthorized(from, tokenId);
        Ticket storage ticket = _tickets[tokenId];
        (uint256 reason, ) = _change(DIRECT, tokenId, ticket.slot.version(), to, 0);
        if (reason != Reasons.NONE) revert TransferRefused(tokenId, uint8(reason));
        Slot slot = ticket.slot.leap();
        ticket.slot = slot;
        emit HolderTransfer(tokenId, from, to, uint16(slot.version()));
    }

    /// @inheritdoc IERC721
    function safeTransferFrom(address from, address to, uint256 tokenId) external {
        safeTransferFrom(from, to, tokenId, "");
    }

    /// @inheritdoc IERC721
    function safeTransferFrom(address from, address to, uint256 tokenId, bytes memory data) public {
        transferFrom(from, to, tokenId);
        // Last of all: whatever the receiver calls meets a finished transfer.
        ERC721Utils.checkOnERC721Received(msg.sender, from, to, tokenId, data);
    }

    function _requireAuthorized(address from, uint256 tokenId) private view {
        address owner = ownerOf(tokenId);
        if (owner != from) revert ERC721IncorrectOwner(from, tokenId, owner);
        if (msg.sender == owner || isApprovedForAll[owner][msg.sender]) return;
        if (getApproved(tokenId) != msg.sender) revert ERC721InsufficientApproval(msg.sender, tokenId);
    }

    // -- What markets ask -----------------------------------------------------

    /// @inheritdoc IERC5192
    function locked(uint256 tokenId) external view returns (bool) {
        EventWord rules = _requireIssued(tokenId);
        (bool isVoid, bool open) = _statusOf(rules, tokenId);
        return isVoid || !open || _tickets[tokenId].slot.owner() == address(0);
    }

    /// @inheritdoc IERC721Metadata
    function tokenURI(uint256 tokenId) external view returns (string memory) {
        _requireIssued(tokenId);
        return bytes(_baseURI).length == 0 ? "" : string.concat(_baseURI, Strings.toString(tokenId));
    }

    /// @inheritdoc IERC2981
    function royaltyInfo(uint256 tokenId, uint256 salePrice) external view returns (address, uint256) {
        return (_royaltyReceiver, _events[tokenId >> 32].royaltyFor(salePrice));
    }

    /// @inheritdoc IERC165
    function supportsInterface(bytes4 interfaceId) public view virtual returns (bool) {
        return
            interfaceId == type(IERC165).interfaceId ||
            interfaceId == type(IERC721).interfaceId ||
            interfaceId == type(IERC721Metadata).interfaceId ||
            interfaceId == type(IERC2981).interfaceId ||
            interfaceId == type(IERC5192).interfaceId ||
            interfaceId == bytes4(0x49064906); // ERC-4906 has no functions: its id is a number of its own
    }
}
